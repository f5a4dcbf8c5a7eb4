// Makes the calls of cases.yaml with the Cerbos SDKs for JavaScript.
//
// The SDKs are those from npm as they are, installed below the folder that the first
// argument names. What to do arrives as JSON on standard input, as sdk_test.go writes
// it; every answer leaves as a line of JSON on standard output, in the words of the API
// and without what differs from call to call.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createSecureContext } from "node:tls";
import { pathToFileURL } from "node:url";

const installed = resolve(process.argv[2]);

function load(workspace, name) {
  const from = createRequire(join(installed, workspace, "package.json"));
  return import(pathToFileURL(from.resolve(name)).href);
}

const { HTTP } = await load("http", "@cerbos/http");
const { GRPC } = await load("grpc", "@cerbos/grpc");

// The client has no way to make this call.
class CannotSay extends Error {}

const CLIENTS = {
  // Node reads the authority of HTTPS from NODE_EXTRA_CA_CERTS.
  "js http": (target) => {
    if (!/^https?:/.test(target.http)) throw new CannotSay();
    return new HTTP(target.http, { userAgent: "sdktest/1.0", adminCredentials: target.admin });
  },
  "js grpc": (target) => {
    if (!target.grpc) throw new CannotSay();
    const tls = target.ca ? createSecureContext({ ca: readFileSync(target.ca) }) : false;
    return new GRPC(target.grpc, { tls, adminCredentials: target.admin, channelOptions: { "grpc.enable_retries": 0 } });
  },
  "js grpc throwing": (target) => {
    if (!target.grpc || target.ca || target.admin) throw new CannotSay();
    return new GRPC(target.grpc, { tls: false, compression: "gzip", onValidationError: "throw", channelOptions: { "grpc.enable_retries": 0 } });
  },
};

// present leaves out what is empty, as the API does.
function present(fields) {
  const kept = Object.entries(fields).filter(
    ([, v]) => v !== undefined && v !== "" && !(Array.isArray(v) && v.length === 0) &&
      !(v?.constructor === Object && Object.keys(v).length === 0));
  return Object.fromEntries(kept);
}

// told is what the Admin API tells, as JSON, but for the hashes that Cerbos makes of policies.
function told(value) {
  return JSON.parse(JSON.stringify(value, (key, v) => (key === "hash" ? undefined : v)));
}

function auxData(the, tokens) {
  if (the.tokens) throw new CannotSay();
  if (!("token" in the)) return undefined;
  return { jwt: { token: tokens[the.token], ...(the.keySet && { keySetId: the.keySet }) } };
}

function checked(r) {
  const { metadata } = r;
  return present({
    resource: present({ id: r.resource.id, kind: r.resource.kind, policyVersion: r.resource.policyVersion, scope: r.resource.scope }),
    actions: r.actions,
    outputs: r.outputs.map((o) => ({ ...present({ src: o.source, action: o.action }), val: o.value })),
    validationErrors: r.validationErrors.map((e) => present({ ...e })),
    meta: metadata && present({
      actions: Object.fromEntries(Object.entries(metadata.actions).map(([a, m]) => [a, present({ ...m })])),
      effectiveDerivedRoles: metadata.effectiveDerivedRoles,
    }),
  });
}

function operand(o) {
  if ("value" in o) return { value: o.value };
  if ("name" in o) return { variable: o.name };
  return { expression: { operator: o.operator, operands: o.operands.map(operand) } };
}

async function call(client, the, tokens) {
  const common = present({
    requestId: the.requestId,
    includeMetadata: the.meta,
    requestContext: the.context,
    principal: the.principal,
    auxData: auxData(the, tokens),
  });
  let to = client;
  if (the.fixed) {
    to = client.withPrincipal(the.principal, common.auxData);
    delete common.principal;
    delete common.auxData;
  }
  switch (the.call) {
    case "check": {
      const answer = await to.checkResources({ ...common, resources: the.resources });
      for (const r of answer.results) {
        if (answer.findResult({ kind: r.resource.kind, id: r.resource.id }) === undefined) throw new Error("a result that is not found");
        for (const [action, effect] of Object.entries(r.actions)) {
          if (r.isAllowed(action) !== (effect === "EFFECT_ALLOW")) throw new Error("an effect in two readings");
        }
      }
      return present({
        requestId: the.requestId && answer.requestId,
        callId: answer.cerbosCallId !== "",
        results: answer.results.map(checked),
      });
    }
    case "checkResource":
      return checked(await to.checkResource({ ...common, resource: the.resource, actions: the.actions }));
    case "isAllowed":
      return { allowed: await to.isAllowed({ ...common, resource: the.resource, action: the.action }) };
    case "plan": {
      const actions = "action" in the ? { action: the.action } : { actions: the.actions };
      const answer = await to.planResources({ ...common, resource: the.resource, ...actions });
      return present({
        requestId: the.requestId && answer.requestId,
        callId: answer.cerbosCallId !== "",
        filter: present({ kind: answer.kind, condition: answer.condition && operand(answer.condition) }),
        validationErrors: answer.validationErrors.map((e) => present({ ...e })),
        meta: answer.metadata && present({ ...answer.metadata }),
      });
    }
    case "serverInfo":
      return { version: (await client.serverInfo()).version !== "" };
    case "health": {
      const services = { "cerbos.svc.v1.CerbosService": "cerbos.svc.v1.CerbosService", "cerbos.svc.v1.CerbosAdminService": "cerbos.svc.v1.CerbosAdminService" };
      if (the.service && !services[the.service]) throw new CannotSay();
      return { health: (await client.checkHealth(the.service && { service: the.service })).status };
    }
    case "listPolicies":
      return { policies: (await client.listPolicies()).ids };
    case "getPolicies":
      return { policies: (await client.getPolicies({ ids: the.ids })).policies.map(told) };
    case "inspectPolicies":
      return { policies: told((await client.inspectPolicies(the.filter)).policies) };
    case "listSchemas":
      return { schemas: (await client.listSchemas()).ids };
    case "getSchemas":
      return { schemas: (await client.getSchemas({ ids: the.ids })).schemas.map(({ id, definition }) => ({ id, definition: definition.toString() })) };
  }
  throw new CannotSay();
}

async function ask(client, the, tokens) {
  try {
    return await call(client, the, tokens);
  } catch (error) {
    if (error instanceof CannotSay) throw error;
    if (error.name === "NotOK") return { code: error.code, message: error.details };
    if (error.name === "ValidationFailed") return { raised: error.name, validationErrors: error.validationErrors.map((e) => present({ ...e })) };
    throw error;
  }
}

const input = [];
for await (const chunk of process.stdin) input.push(chunk);
const work = JSON.parse(Buffer.concat(input));

for (const [transport, target] of Object.entries(work.targets)) {
  for (const [name, open] of Object.entries(CLIENTS)) {
    let client, absent, stranger;
    try {
      client = open(target);
      absent = open(work.nowhere);
      stranger = open(target.admin ? { ...target, admin: { ...target.admin, password: "guess" } } : target);
    } catch (error) {
      if (error instanceof CannotSay) continue;
      throw error;
    }
    for (const the of work.cases) {
      if ((!target.whole && !the.everywhere) || Boolean(the.admin) !== Boolean(target.admin)) continue;
      try {
        const answer = await ask(the.nowhere ? absent : the.stranger ? stranger : client, the, work.tokens);
        console.log(JSON.stringify({ client: name, transport, case: the.name, answer }));
      } catch (error) {
        if (!(error instanceof CannotSay)) throw new Error(`${name}, ${the.name}`, { cause: error });
      }
    }
    for (const opened of [client, absent, stranger]) opened.close?.();
  }
}
