# One image for every service: `caas run SERVICE`.
FROM python:3.13.9-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/caas
COPY requirements.lock ./
RUN /opt/caas/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN /opt/caas/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13.9-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin caas \
    && install -d -o caas -g caas /keys /ca /mqtt /data
COPY --from=build /opt/caas /opt/caas
ENV PATH=/opt/caas/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000 9000
ENTRYPOINT []
CMD ["caas", "--help"]
