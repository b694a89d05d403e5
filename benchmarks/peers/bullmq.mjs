// BullMQ on Redis: the same protocol as host.py, in JavaScript. `node bullmq.mjs <socket> [--worker]`
//
// By its documentation: FlowProducer for parents and children, addBulk for many jobs, a worker concurrency above 1,
// finished jobs removed (the results of the last steps are kept, they are read), two node processes for two workers.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.env.PEERS_NODE + "/");
const { Queue, Worker, FlowProducer } = require("bullmq");
const { version } = require("bullmq/package.json");

const CONCURRENCY = 50;
const CHAIN_LENGTH = 20;
const POLL_MS = 5;
const NOTES =
  `concurrency=${CONCURRENCY}, flows, addBulk, finished items removed; Redis flushes each second: a crash loses work`;

const [socket, ...flags] = process.argv.slice(2);
const connection = { path: socket, maxRetriesPerRequest: null };
const removed = { removeOnComplete: true };
const now = () => Number(process.hrtime.bigint());
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// The queue of all steps but the last, and the queue of the last steps, whose finished jobs are counted.
const WORK = "work";
const LAST = "last";

function work() {
  const flows = new FlowProducer({ connection });
  const values = async (job) => Object.entries(await job.getChildrenValues());
  const handlers = {
    produce: async ({ data }) => {
      const numbers = Array.from({ length: data.size }, (_, number) => number);
      const children = numbers.map((number) => ({
        name: "item", queueName: WORK, data: { number }, opts: { ...removed, jobId: `item-${data.run}-${number}` },
      }));
      await flows.add({ name: "gather", queueName: LAST, data, children });
    },
    item: async ({ data }) => data.number,
    gather: async (job) => {
      const place = (key) => Number(key.slice(key.lastIndexOf("-") + 1));
      const found = (await values(job)).sort((one, other) => place(one[0]) - place(other[0]));
      const results = found.map(([, value]) => value);
      return {
        count: results.length,
        sum: results.reduce((total, value) => total + value, 0),
        in_order: results.every((value, index) => value === index),
        ended_ns: now(),
      };
    },
    top: async ({ data }) => {
      const side = (name) => ({ name, queueName: WORK, data, opts: { ...removed, jobId: `${name}-${data.number}-${data.run}` } });
      await flows.add({ name: "bottom", queueName: LAST, data, children: [side("left"), side("right")] });
    },
    left: async ({ data }) => data.number + 1,
    right: async ({ data }) => data.number * 2,
    bottom: async (job) => {
      const found = await values(job);
      const of = (name) => found.find(([key]) => key.includes(`:${name}-`))[1];
      return [job.data.number, of("left"), of("right"), now()];
    },
    link: async (job) => {
      const children = await values(job);
      const links = children.length ? children[0][1] : [];
      return [...links, [now(), now()]];
    },
  };
  const perform = (job) => handlers[job.name](job);
  return Promise.all(
    [WORK, LAST].map((name) => new Worker(name, perform, { connection, concurrency: CONCURRENCY }).waitUntilReady()),
  );
}

class Client {
  constructor() {
    this.work = new Queue(WORK, { connection });
    this.last = new Queue(LAST, { connection });
    this.flows = new FlowProducer({ connection });
    this.runs = 0;
    this.workers = [];
  }

  // Wait until so many last steps have finished, and return what they returned.
  async results(count) {
    while ((await this.last.getCompletedCount()) < count) await sleep(POLL_MS);
    const jobs = await this.last.getCompleted(0, count - 1);
    await this.last.obliterate({ force: true });
    return jobs.map((job) => job.returnvalue);
  }

  async prepare() {
    return { version, notes: NOTES };
  }

  async workers_({ count }) {
    const started = Array.from({ length: count }, () =>
      spawn(process.execPath, [process.argv[1], socket, "--worker"], { stdio: ["ignore", "pipe", "inherit"] }));
    this.workers.push(...started);
    await Promise.all(started.map((worker) => new Promise((done, failed) => {
      worker.stdout.once("data", done);
      worker.once("exit", (code) => failed(new Error(`a worker ended with ${code} before it was ready`)));
    })));
    return this.workers.map((worker) => worker.pid);
  }

  async fan({ size }) {
    const begin = now();
    await this.work.add("produce", { size, run: ++this.runs }, removed);
    const [found] = await this.results(1);
    return { ...found, seconds: (found.ended_ns - begin) / 1e9 };
  }

  async diamonds({ runs }) {
    const begin = now();
    const run = ++this.runs;
    await this.work.addBulk(Array.from({ length: runs }, (_, number) => ({ name: "top", data: { number, run }, opts: removed })));
    const found = (await this.results(runs)).sort((one, other) => one[0] - other[0]);
    const ended = Math.max(...found.map((output) => output[3]));
    return { outputs: found.map(([, left, right]) => [left, right]), seconds: (ended - begin) / 1e9 };
  }

  async chain() {
    const begin = now();
    let tree = { name: "link", queueName: WORK, opts: removed };
    for (let place = 1; place < CHAIN_LENGTH - 1; place++) tree = { name: "link", queueName: WORK, opts: removed, children: [tree] };
    await this.flows.add({ name: "link", queueName: LAST, children: [tree] });
    const [links] = await this.results(1);
    return { begin_ns: begin, links };
  }

  async stop() {
    const ended = this.workers.map((worker) => new Promise((done) => worker.once("exit", done)));
    this.workers.forEach((worker) => worker.kill("SIGKILL"));
    await Promise.all(ended);
    this.workers = [];
    return null;
  }
}

if (flags.includes("--worker")) {
  await work();
  console.log("ready");
} else {
  const client = new Client();
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    let answer;
    try {
      answer = { ok: await client[command.do === "workers" ? "workers_" : command.do](command) };
    } catch (error) {
      console.error(error);
      answer = { error: `${error.name}: ${error.message}` };
    }
    console.log(JSON.stringify(answer));
  }
  await client.stop();
  process.exit(0);
}
