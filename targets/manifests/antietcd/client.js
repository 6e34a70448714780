// A client of AntiEtcd, over HTTP.
//
// A register, a counter or a list is the value of its key, as JSON; an element of a set is a key of its own, SET/ELEMENT.
// What depends on a value, but for a cas, reads it first, and writes if no key that it has read was changed meanwhile.
"use strict";

const http = require("http");
const { Client, Fail, Info, Mismatch, run } = require("./duress_client.js");

// Errors before a request is carried out, and before it is sent.
const REFUSED = ["Quorum not available", "Leader is unavailable"];
const UNSENT = ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH"];

const put = (key, value) => ({ request_put: { key, value: JSON.stringify(value) } });

class AntiEtcd extends Client {
  async open() {
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  }

  async close() {
    this.agent?.destroy();
  }

  post(path, body, deadline = Date.now() + this.timeout) {
    return new Promise((resolve, reject) => {
      const headers = { "content-type": "application/json" };
      const options = { ...this.address, agent: this.agent, path, method: "POST", headers };
      const failed = (error) => reject(new (UNSENT.includes(error.code) ? Fail : Info)(error.message));
      const request = http.request(options, async (answer) => {
        try {
          let text = "";
          for await (const part of answer.setEncoding("utf8")) text += part;
          if (answer.statusCode === 200) return resolve(JSON.parse(text));
          const refused = answer.statusCode === 503 && REFUSED.includes(text.trim());
          reject(new (refused ? Fail : Info)(`${answer.statusCode}: ${text.trim()}`));
        } catch (error) {
          failed(error);
        } finally {
          clearTimeout(timer);
        }
      });
      const timer = setTimeout(() => request.destroy(new Error("no answer in time")), deadline - Date.now());
      request.on("error", failed).on("close", () => clearTimeout(timer));
      request.end(JSON.stringify(body));
    });
  }

  /** Returns the value of each key, null if there is none, and the revision of its last change, or 0. */
  async get(keys, deadline) {
    const success = keys.map((key) => ({ request_range: { key } }));
    const { responses } = await this.post("/v3/kv/txn", { success }, deadline);
    const found = responses.map(({ response_range: { kvs } }) => kvs[0] ?? { value: "null", mod_revision: 0 });
    return new Map(keys.map((key, at) => [key, { value: JSON.parse(found[at].value), revision: found[at].mod_revision }]));
  }

  /** Writes what `change` makes of the values of `keys`, as one transaction. */
  async update(keys, change) {
    const deadline = Date.now() + this.timeout;
    const read = await this.get(keys, deadline).catch((error) => {
      throw new Fail(error.message);
    });
    const compare = keys.map((key) => ({ key, target: "MOD", mod_revision: read.get(key).revision }));
    const written = change(new Map(keys.map((key) => [key, read.get(key).value])));
    const success = [...written].map(([key, value]) => put(key, value));
    const { succeeded } = await this.post("/v3/kv/txn", { compare, success }, deadline);
    if (!succeeded) throw new Mismatch("a key was changed meanwhile");
  }

  // The workloads register, set and counter
  async read(key) {
    if (this.vocabulary === "set") {
      const { kvs } = await this.post("/v3/kv/range", { key: `${key}/`, range_end: `${key}0`, keys_only: true });
      return kvs.map((kv) => JSON.parse(kv.key.slice(key.length + 1)));
    }
    const { value } = (await this.get([key])).get(key);
    return this.vocabulary === "counter" ? (value ?? 0) : value;
  }

  async write(key, value) {
    await this.post("/v3/kv/txn", { success: [put(key, value)] });
  }

  async cas(key, before, after) {
    const value = JSON.stringify(before);
    const held = before === null ? { target: "CREATE", create_revision: 0 } : { target: "VALUE", value };
    const { succeeded } = await this.post("/v3/kv/txn", { compare: [{ key, ...held }], success: [put(key, after)] });
    if (!succeeded) throw new Mismatch();
  }

  async add(key, value) {
    if (this.vocabulary === "set") return this.write(`${key}/${JSON.stringify(value)}`, true);
    return this.update([key], (values) => values.set(key, (values.get(key) ?? 0) + value));
  }

  // The workloads list-append and rw-register
  async txn(operations) {
    let answers;
    const perform = (values) => {
      const written = new Map();
      const now = (key) => (written.has(key) ? written.get(key) : values.get(key));
      answers = operations.map(([act, key, value]) => {
        if (act === "r") return [act, key, now(key) ?? (this.vocabulary === "list-append" ? [] : null)];
        written.set(key, act === "append" ? [...(now(key) ?? []), value] : value);
        return [act, key, value];
      });
      return written;
    };
    const reads = [...new Set(operations.filter(([act]) => act !== "w").map(([, key]) => key))];
    if (operations.every(([act]) => act === "r")) {
      const read = await this.get(reads);
      perform(new Map(reads.map((key) => [key, read.get(key).value])));
    } else {
      await this.update(reads, perform);
    }
    return answers;
  }
}

run(AntiEtcd);
