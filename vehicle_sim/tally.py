"""What a fleet has done so far: plain counts for a live line, and the same as metrics."""

from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge

from core.contracts.bus import Answer

SENT = Counter("caas_sim_messages_sent", "Messages vehicles have sent", ["topic"])
ANSWERS = Counter("caas_sim_answers", "Answers to commands", ["result", "reason"])
REFUSED = Counter("caas_sim_publish_refused", "Messages the broker refused", ["topic"])
DROPPED = Counter("caas_sim_telemetry_dropped", "Batches dropped from full buffers")
RESENT = Counter("caas_sim_telemetry_resent", "Batches sent again for want of a receipt")
VEHICLES = Gauge("caas_sim_vehicles", "Vehicles, by what they do", ["state"])


@dataclass
class Tally:
    """Counts of one fleet."""

    sent: int = 0
    answers: dict[str, int] = field(default_factory=dict[str, int])

    def count_sent(self, topic: str) -> None:
        self.sent += 1
        SENT.labels(topic).inc()

    def count_answer(self, answer: Answer) -> None:
        self.answers[answer.result] = self.answers.get(answer.result, 0) + 1
        ANSWERS.labels(answer.result, answer.reason or "").inc()
