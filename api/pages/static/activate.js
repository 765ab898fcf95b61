// Sends the new password with the token of the link. Texts go into the page as text, never as HTML.
"use strict";

const TEXTS = {
  en: {
    title: "Activate your account",
    password: "New password",
    hint: "At least 10 characters.",
    repeated: "The same again",
    send: "Activate",
    differ: "The two passwords are not the same.",
    done: "Your account is active. You can log in with your new password.",
    invalid: "This link is not valid any more. Log in with the password you chose, or with the one in the e-mail.",
    refused: "This password cannot be used.",
    busy: "Too many tries. Please wait a minute.",
    failed: "That did not work. Please try again in a moment.",
  },
  es: {
    title: "Active su cuenta",
    password: "Nueva contraseña",
    hint: "Al menos 10 caracteres.",
    repeated: "Repítala",
    send: "Activar",
    differ: "Las dos contraseñas no coinciden.",
    done: "Su cuenta está activa. Ya puede entrar con su nueva contraseña.",
    invalid: "Este enlace ya no es válido. Entre con la contraseña que eligió o con la del correo.",
    refused: "Esta contraseña no se puede usar.",
    busy: "Demasiados intentos. Espere un minuto.",
    failed: "No ha funcionado. Inténtelo de nuevo en un momento.",
  },
};

const language = (navigator.language || "en").startsWith("es") ? "es" : "en";
const texts = TEXTS[language];
const byId = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token") || "";

function say(name) {
  byId("status").textContent = texts[name];
}

function verdict(status, code) {
  if (code === "ACTIVATION_INVALID") return "invalid";
  if (status === 429) return "busy";
  return status === 422 ? "refused" : "failed";
}

async function activate() {
  // Relative, so that it also holds behind a proxy that serves the API below a path.
  const answer = await fetch("api/v1/auth/activate", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token, newPassword: byId("password").value }),
  });
  if (answer.ok) {
    byId("form").hidden = true;
    history.replaceState(null, "", location.pathname);
    return "done";
  }
  const body = await answer.json().catch(() => ({}));
  return verdict(answer.status, body.error && body.error.code);
}

document.documentElement.lang = language;
for (const element of document.querySelectorAll("[data-text]")) {
  element.textContent = texts[element.dataset.text];
}
document.title = `CaaS – ${texts.title}`;
if (token) {
  byId("form").hidden = false;
} else {
  say("invalid");
}
byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (byId("password").value !== byId("repeated").value) {
    say("differ");
    return;
  }
  byId("send").disabled = true;
  try {
    say(await activate());
  } catch {
    say("failed");
  } finally {
    byId("send").disabled = false;
  }
});
