// Stands in for `rapid-client.node`, the part of Lambda's runtime client that has to be compiled:
// `node --require rapid.cjs node_modules/aws-lambda-ric/index.mjs`. It asks the Runtime API for one
// event after the other; https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
const Module = require("node:module");
const net = require("node:net");

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const PREFIX = "/2018-06-01/runtime/invocation/";

const call = (request) =>
  new Promise((resolve, reject) => {
    let text = "";
    const socket = net.connect(Number(port), host, () => socket.write(request));
    socket.setEncoding("utf8");
    socket.on("error", reject);
    socket.on("data", (data) => (text += data));
    socket.on("end", () => {
      const [head, bodyJson] = text.split("\r\n\r\n");
      const lines = head.split("\r\n").slice(1).map((line) => line.split(": "));
      const headers = Object.fromEntries(lines.map(([name, value]) => [name.toLowerCase(), value]));
      resolve({ bodyJson, headers });
    });
  });

const post = (path, body) => {
  const length = Buffer.byteLength(body);
  call(`POST ${PREFIX}${path} HTTP/1.1\r\nContent-Length: ${length}\r\n\r\n${body}`);
};

const client = {
  next: () => call(`GET ${PREFIX}next HTTP/1.1\r\n\r\n`),
  done: (id, body) => post(`${id}/response`, body),
  error: (id, body) => post(`${id}/error`, body),
};

const load = Module._load;
Module._load = (name, ...rest) =>
  name.endsWith("rapid-client.node") ? client : load(name, ...rest);
