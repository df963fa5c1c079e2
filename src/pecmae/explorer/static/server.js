// Asking the server: paths are relative to the address, which holds the secret.

/** Thrown where the server answered with a sentence. */
export class Refusal extends Error {
  constructor(answer) {
    super(answer.error);
    this.answer = answer;
  }
}

async function answerOf(response) {
  const kind = response.headers.get('content-type') || '';
  const answer = kind.startsWith('application/json') ? await response.json() : { error: await response.text() };
  if (!response.ok) throw new Refusal(answer);
  return answer;
}

export const look = async (path) => answerOf(await fetch(path));

export const act = async (path, values) =>
  answerOf(await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(values) }));

export const send = async (file) => answerOf(await fetch(`tracks?name=${encodeURIComponent(file.name)}`, { method: 'POST', body: file }));

export const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
