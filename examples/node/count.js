// Steps a session over a stream, and goes on where it was if it is killed and started again: in JavaScript, from the
// contracts alone.
//
//     npm install && node count.js HOST:PORT MODEL SESSION STEPS [STATE_FILE]
//
// The state file holds what a resume needs. A line is printed for each answer; input n is n in every element.

import { readFileSync, renameSync, writeFileSync, existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { randomUUID } from "node:crypto";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [server, model, session, wanted, stateFile = "state.json"] = process.argv.slice(2);
const steps = Number(wanted);
const WINDOW = 8; // steps on the way, counted from what the file says

const proto = fileURLToPath(new URL("../../proto", import.meta.url));
const files = ["session_service.proto", "model_service.proto"].map((file) => `tapehead/v1/${file}`);
const { tapehead } = grpc.loadPackageDefinition(
  loader.loadSync(files, { includeDirs: [proto], keepCase: true, longs: Number, enums: String, defaults: true }),
);
const credentials = grpc.credentials.createInsecure();
const sessions = new tapehead.v1.SessionService(server, credentials);
const models = new tapehead.v1.ModelService(server, credentials);

const saved = existsSync(stateFile) ? JSON.parse(readFileSync(stateFile, "utf8")) : null;
const position = { incarnation: saved?.incarnation ?? "", client_id: randomUUID(), received: saved?.received ?? 0 };

function save() {
  writeFileSync(`${stateFile}.new`, JSON.stringify(position));
  renameSync(`${stateFile}.new`, stateFile);
}

function inputOf(tensors, number) {
  return tensors.map(({ name, dtype, shape }) => {
    const count = shape.reduce((product, length) => product * length, 1);
    const raw = Buffer.alloc(4 * count); // float32, little-endian
    for (let index = 0; index < count; index++) raw.writeFloatLE(number, 4 * index);
    return { name, dtype, shape, raw };
  });
}

function run(tensors) {
  const stream = sessions.StreamSteps();
  let next = position.received + 1;

  const send = () => {
    for (; next <= steps && next <= position.received + WINDOW; next++) {
      stream.write({ step: { step: next, inputs: inputOf(tensors, next) } });
    }
    if (position.received === steps) stream.end();
  };

  stream.on("data", ({ opened, result, error }) => {
    if (opened) {
      position.incarnation = opened.session.incarnation;
      save(); // before anything is sent: after a kill nobody else has to find out whose session this is
      console.log(`opened at ${opened.committed_step}`);
      next = Math.max(next, opened.committed_step + 1); // answers up to there come by themselves
      send();
    } else if (result) {
      const [output] = result.outputs;
      console.log(`${result.step} ${output.raw.readFloatLE(0)}${result.replayed ? " replayed" : ""}`);
      position.received = result.step;
      save();
      send();
    } else if (error) {
      stream.cancel();
      fail(`step ${error.step}: ${error.reason}: ${error.message}`);
    } // else a heartbeat, or the word that the server drains
  });
  stream.on("error", (error) => fail(`${grpc.status[error.code]}: ${error.details}`));
  stream.on("end", () => sessions.close());

  const open = { session_id: session, client_id: position.client_id };
  if (saved) {
    Object.assign(open, {
      incarnation: saved.incarnation,
      last_received_step: saved.received,
      previous_client_id: saved.client_id,
    });
  } else {
    open.create = { model_id: model };
  }
  stream.write({ open });
}

function fail(sentence) {
  console.error(sentence);
  process.exit(1); // the state file is as it was: start again, and it goes on
}

models.GetModel({ model_id: model }, (error, found) => {
  if (error) fail(`${grpc.status[error.code]}: ${error.details}`);
  const step = found.manifest.entries.find((entry) => entry.name === "step");
  models.close();
  run(step.inputs);
});
