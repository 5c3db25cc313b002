/**
 * Points every host but this machine at a closed port, and notes who was asked for.
 *
 * Imported first, it lets a test prove that nothing was downloaded: the SDK's dev mode uses node:https and
 * fetch, and both connect through net.Socket.
 */

import net from "node:net";

/** Names and addresses outside this machine that something wanted to connect to. */
export const outside = [];

const LOCAL = /^(127\.|::1$|localhost$)/;
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function guarded(...parameters) {
  const [normalised] = Array.isArray(parameters[0]) ? parameters[0] : parameters;
  const options = typeof normalised === "object" ? normalised : { port: parameters[0], host: parameters[1] };
  const host = options.host ?? "localhost";
  if (options.path || LOCAL.test(host)) return connect.apply(this, parameters);
  outside.push(host);
  return connect.call(this, { host: "127.0.0.1", port: 1 });
};
