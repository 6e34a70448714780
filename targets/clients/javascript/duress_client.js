// A client of a system under test, for duress: one file, no dependencies, Node.js 16 or later.
//
//     const { Client, Fail, Info, Mismatch, run } = require("./duress_client.js");
//
//     class Mine extends Client {
//       async open() {}                        // connect to this.address, within this.timeout milliseconds
//       async read(key) { return value; }      // or null
//       async write(key, value) {}
//       async cas(key, before, after) {}       // throw new Mismatch() where the value is not `before`
//       async close() {}
//     }
//     run(Mine);
//
// A method for each operation of the vocabularies that the manifest says the client speaks: `register` has read, write and
// cas; `set` and `counter` have read and add; `list-append` and `rw-register` have txn(operations), which returns them
// with the answers of reads filled in; `bank` has create(balances), transfer(transfer) and read(accounts);
// `fenced-mutex` has acquire(key, lease), which returns the fencing token, and release(key, token). A method that returns has
// done it. It throws
//
//     Fail      when it certainly was not done and never will be: nothing was sent, or the system refused it;
//     Mismatch  when a comparison failed, which is a Fail;
//     Info      when it may have been done: no answer in time, a connection that broke.
//
// With `processes = "per-host"` in the manifest one process serves several clients, side by side.
//
// Anything else that is thrown is an Info, and its stack is kept with the run; in `open` it is a Fail. After an Info, and after
// anything else, the connection is closed, and opened again for the next operation.
"use strict";

const VERSION = 1;

/** The operation certainly was not done, and never will be. */
class Fail extends Error {}

/** The comparison of a compare-and-set failed. */
class Mismatch extends Fail {}

/** The operation may have been done. */
class Info extends Error {}

/** A client of one node: extend it, with one method for each operation. */
class Client {
  /** The vocabulary of its operations, as the manifest's `speaks` names it. */
  vocabulary = null;
  /** The name of its node. */
  node = null;
  /** The address of its node, as { host, port }. */
  address = null;
  /** The addresses of all nodes, by name. */
  nodes = {};
  /** How long an operation may take, in milliseconds. */
  timeout = 1000;

  /** Connects to the node. */
  async open() {}

  /** Closes the connection, which may never have been opened. */
  async close() {}
}

function address(text) {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at).replace(/[[\]]/g, ""), port: Number(text.slice(at + 1)) };
}

function argumentsOf(request) {
  const key = "key" in request ? [request.key] : [];
  if (request.f === "read") return (request.value ?? null) === null ? key : [...key, request.value];
  if (request.f === "cas") return [...key, ...request.value];
  return [...key, request.value];
}

/** One client after the other, as the harness opens and closes them. */
class Session {
  constructor(Make) {
    this.Make = Make;
    this.request = null;
    this.client = null;
  }

  async connect() {
    const client = new this.Make();
    client.vocabulary = this.request.vocabulary;
    client.node = this.request.node;
    client.address = address(this.request.address);
    client.nodes = Object.fromEntries(Object.entries(this.request.nodes).map(([name, at]) => [name, address(at)]));
    client.timeout = this.request.timeout_ms;
    await client.open();
    this.client = client;
  }

  async disconnect() {
    const client = this.client;
    this.client = null;
    try {
      await client?.close();
    } catch (error) {
      console.error(error);
    }
  }

  async answer(request) {
    if (request.type === "open") {
      await this.disconnect();
      this.request = request;
    }
    try {
      if (this.client === null) await this.connect();
    } catch (error) {
      return { type: "fail", error: `cannot open the connection: ${error.message}` };
    }
    if (request.type === "open") return { type: "ok" };
    const operation = this.client[request.f.replaceAll("-", "_")];
    if (operation === undefined) return { type: "fail", error: `the client has no method ${request.f}` };
    try {
      const value = await operation.apply(this.client, argumentsOf(request));
      return { type: "ok", value: value === undefined ? null : value };
    } catch (error) {
      if (error instanceof Mismatch) return { type: "fail", error: error.message || "the comparison failed", mismatch: true };
      if (error instanceof Fail) return { type: "fail", error: error.message };
      if (!(error instanceof Info)) console.error(error);
      await this.disconnect();
      return { type: "info", error: String(error.message ?? error) };
    }
  }
}

/** Serves the harness with clients of the class `Make`, until it closes the standard input. */
async function run(Make) {
  const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
  // The client's own prints must not come between the answers.
  console.log = console.error;
  say({ type: "hello", version: VERSION });
  // One client, or several with a number each: the requests of each are served one after the other.
  const sessions = new Map();
  const serve = async (session, request) => {
    if (request.type === "close") return session.disconnect();
    const { id, client } = request;
    say({ ...(await session.answer(request)), id, ...(client === undefined ? {} : { client }) });
  };
  for await (const line of require("readline").createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    const of = sessions.get(request.client) ?? { session: new Session(Make), served: Promise.resolve() };
    sessions.set(request.client, of);
    of.served = of.served.then(() => serve(of.session, request));
    if (request.type === "close") sessions.delete(request.client);
  }
  for (const { session, served } of sessions.values()) served.then(() => session.disconnect());
}

module.exports = { Client, Fail, Info, Mismatch, run };
