// The client of the toy store, in JavaScript. duress starts it, and speaks to it through duress_client.js.
"use strict";

const net = require("net");
const { Client, Fail, Info, Mismatch, run } = require("./duress_client.js");

class Toy extends Client {
  open() {
    return new Promise((opened, failed) => {
      this.socket = net.connect({ ...this.address, noDelay: true });
      this.socket.setTimeout(this.timeout, () => this.socket.destroy(new Error("no answer in time")));
      this.socket.once("connect", opened);
      this.socket.once("error", failed);
      this.socket.on("close", () => this.ended?.(new Info("the connection broke")));
      this.socket.on("error", (error) => this.ended?.(new Info(error.message)));
      let text = "";
      this.socket.on("data", (bytes) => {
        text += bytes;
        const [line, rest] = [text.slice(0, text.indexOf("\n")), text.slice(text.indexOf("\n") + 1)];
        if (text.includes("\n")) {
          text = rest;
          this.answered?.(JSON.parse(line));
        }
      });
    });
  }

  async close() {
    this.socket.destroy();
  }

  async ask(request) {
    if (this.socket.destroyed) {
      await this.open().catch((error) => {
        throw new Fail(error.message);
      });
    }
    const answer = await new Promise((answered, ended) => {
      [this.answered, this.ended] = [answered, ended];
      // The request may arrive even if its answer does not: it may be done.
      this.socket.write(JSON.stringify(request) + "\n");
    });
    if (answer.result === "unavailable") throw new Fail("the node has no connection to the primary");
    return answer;
  }

  // The workloads register and counter
  async read(key) {
    const { value } = await this.ask({ op: "read", key });
    return this.vocabulary === "counter" ? (value ?? 0) : value;
  }

  // The workload register
  async write(key, value) {
    await this.ask({ op: "write", key, value });
  }

  async cas(key, before, after) {
    const { result } = await this.ask({ op: "cas", key, old: before, new: after });
    if (result === "mismatch") throw new Mismatch();
  }

  // The workload counter
  async add(key, delta) {
    await this.ask({ op: "add", key, delta });
  }
}

run(Toy);
