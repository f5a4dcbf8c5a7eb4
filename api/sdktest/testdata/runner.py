"""Makes the calls of cases.yaml with the clients of the Cerbos SDK for Python.

The SDK is the one from PyPI as it is. What to do arrives as JSON on standard input,
as sdk_test.go writes it; every answer leaves as a line of JSON on standard output, in
the words of the API and without what differs from call to call.
"""

import asyncio
import inspect
import json
import logging
import sys
import warnings
from contextlib import AsyncExitStack

import grpc
import httpx
from google.protobuf.json_format import MessageToDict, ParseDict

from cerbos.engine.v1 import engine_pb2
from cerbos.request.v1 import request_pb2
from cerbos.sdk import client as http_client
from cerbos.sdk import model
from cerbos.sdk.grpc import client as grpc_client
from cerbos.sdk.grpc.utils import AdminCredentials, get_resource, is_allowed
from cerbos.svc.v1 import svc_pb2_grpc

# The SDK hands the path of a CA to httpx in a way that httpx wants given up.
warnings.filterwarnings("ignore", category=DeprecationWarning)


class CannotSay(Exception):
    """The client has no way to make this call."""


async def done(value):
    """What a call of a synchronous or an asynchronous client gives."""
    return await value if inspect.isawaitable(value) else value


def present(**fields) -> dict:
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def jwts(case, tokens):
    """The tokens of a case by name; the name "" stands for the only one."""
    if "token" in case:
        return {"": (tokens[case["token"]], case.get("keySet"))}
    return {name: (tokens[t["token"]], t.get("keySet")) for name, t in case.get("tokens", {}).items()}


# ---- over HTTP ----------------------------------------------------------------------


class HTTP:
    def __init__(self, kind, **options):
        self.kind, self.options = kind, options

    def open(self, target):
        options = {"tls_verify": target["ca"]} if "ca" in target else {}
        return self.kind(target["http"], **options, **self.options)

    @staticmethod
    def principal(p):
        return model.Principal(p["id"], p["roles"], p.get("attr", {}), p.get("policyVersion", "default"), p.get("scope", ""))

    @staticmethod
    def resource(r, kind=model.Resource):
        described = {} if kind is model.ResourceDesc else {"id": r["id"]}
        return kind(
            **described, kind=r["kind"], attr=r.get("attr", {}),
            policy_version=r.get("policyVersion", "default"), scope=r.get("scope", ""),
        )

    @staticmethod
    def aux(case, tokens):
        by_name = {name: model.JWT(*t) for name, t in jwts(case, tokens).items()}
        if "" in by_name:
            return model.AuxData(jwt=by_name[""])
        return model.AuxData(jwts=by_name) if by_name else None

    async def call(self, client, case, tokens):  # it has no way to ask for metadata
        aux, ids = self.aux(case, tokens), {"request_id": case.get("requestId")}
        if fixed := case.get("fixed"):
            client, who = client.with_principal(self.principal(case["principal"]), aux), {}
        elif "principal" in case:
            who = {"principal": self.principal(case["principal"]), "aux_data": aux}
        match case["call"]:
            case "check":
                resources = model.ResourceList()
                for entry in case["resources"]:
                    resources.add(self.resource(entry["resource"]), entry["actions"])
                answer = await done(client.check_resources(resources=resources, **who, **ids))
                return self.failure(answer) or self.checked(answer, case)
            case "isAllowed":
                return {"allowed": await done(client.is_allowed(case["action"], resource=self.resource(case["resource"]), **who, **ids))}
            case "plan":
                actions = case["action"] if "action" in case else case["actions"]
                if fixed:
                    who = {"aux_data": aux}
                resource = self.resource(case["resource"], model.ResourceDesc)
                answer = await done(client.plan_resources(actions, resource=resource, **who, **ids))
                return self.failure(answer) or self.planned(answer, case)
            case "health":
                return {"healthy": await done(client.is_healthy(case.get("service")))}
        raise CannotSay

    @staticmethod
    def failure(answer):
        if not answer.failed():
            return None
        try:
            answer.raise_if_failed()
        except model.CerbosRequestException as error:
            return {"status": answer.status_code, "code": error.error.code, "message": error.error.message}

    @staticmethod
    def checked(answer, case):
        for result in answer.results:
            assert answer.get_resource(result.resource.id) is not None
            assert all(result.is_allowed(action) == (effect == model.Effect.ALLOW) for action, effect in result.actions.items())
        return present(
            requestId=answer.request_id if "requestId" in case else None,
            results=[
                present(
                    resource=present(
                        id=r.resource.id, kind=r.resource.kind, policyVersion=r.resource.policy_version, scope=r.resource.scope
                    ),
                    actions={action: effect.value for action, effect in r.actions.items()},
                    outputs=[present(src=o.src, action=o.action, error=o.error) | {"val": o.val} for o in r.outputs or []],
                    validationErrors=[e.to_dict(encode_json=True) for e in r.validation_errors or []],
                )
                for r in answer.results
            ],
        )

    @staticmethod
    def planned(answer, case):
        condition = answer.filter.condition
        return present(
            requestId=answer.request_id if "requestId" in case else None,
            action=answer.action,
            resourceKind=answer.resource_kind,
            policyVersion=answer.policy_version,
            filter=present(kind=answer.filter.kind.value, condition=condition and condition.to_dict(encode_json=True)),
            validationErrors=[e.to_dict(encode_json=True) for e in answer.validation_errors or []],
        )


# ---- over gRPC ----------------------------------------------------------------------


class GRPC:
    def __init__(self, kind, **options):
        self.kind, self.options = kind, options

    def open(self, target):
        if "grpc" not in target:
            raise CannotSay
        return self.kind(target["grpc"], tls_verify=target.get("ca", False), **self.options)

    @staticmethod
    def entries(case):
        return [ParseDict(entry, request_pb2.CheckResourcesRequest.ResourceEntry()) for entry in case["resources"]]

    @staticmethod
    def aux(case, tokens):
        by_name = {n: request_pb2.AuxData.JWT(token=t, key_set_id=k) for n, (t, k) in jwts(case, tokens).items()}
        if "" in by_name:
            return request_pb2.AuxData(jwt=by_name[""])
        return request_pb2.AuxData(jwts=by_name) if by_name else None

    async def call(self, client, case, tokens):  # it has no way to ask for metadata
        aux, ids = self.aux(case, tokens), {"request_id": case.get("requestId")}
        if "principal" in case:
            principal = ParseDict(case["principal"], engine_pb2.Principal())
            who = {"principal": principal, "aux_data": aux}
        if fixed := case.get("fixed"):
            client, who = client.with_principal(principal, aux), {}
        match case["call"]:
            case "check":
                answer = await done(client.check_resources(resources=self.entries(case), **who, **ids))
                for result in answer.results:
                    assert get_resource(answer, result.resource.id) is not None
                    assert all(is_allowed(result, action) == (effect == 1) for action, effect in result.actions.items())
                return message(answer, case)
            case "isAllowed":
                resource = ParseDict(case["resource"], engine_pb2.Resource())
                return {"allowed": await done(client.is_allowed(case["action"], resource=resource, **who, **ids))}
            case "plan":
                actions = case["action"] if "action" in case else case["actions"]
                if fixed:
                    who = {"aux_data": aux}
                resource = ParseDict(case["resource"], engine_pb2.PlanResourcesInput.Resource())
                return message(await done(client.plan_resources(actions, resource=resource, **who, **ids)), case)
            case "serverInfo":
                return {"version": bool((await done(client.server_info())).version)}
        raise CannotSay


class Admin(GRPC):
    def open(self, target):
        if "grpc" not in target:
            raise CannotSay
        credentials = AdminCredentials(**target["admin"]) if "admin" in target else None
        return self.kind(target["grpc"], credentials, tls_verify=target.get("ca", False), **self.options)

    async def call(self, client, case, tokens):  # it has no way to inspect
        match case["call"]:
            case "listPolicies":
                return {"policies": list((await done(client.list_policies())).policy_ids)}
            case "getPolicies":
                policies = [MessageToDict(p) for p in (await done(client.get_policy(case["ids"]))).policies]
                for p in policies:  # Cerbos makes a hash of a policy
                    p["metadata"].pop("hash", None)
                return {"policies": policies}
            case "listSchemas":
                return {"schemas": list((await done(client.list_schemas())).schema_ids)}
            case "getSchemas":
                return {"schemas": [MessageToDict(s) for s in (await done(client.get_schema(case["ids"]))).schemas]}
        raise CannotSay


class Stub:
    """The service's stub as generated, which the SDK ships: what its clients do not say."""

    def open(self, target):
        if "grpc" not in target:
            raise CannotSay
        if "ca" in target:
            with open(target["ca"], "rb") as ca:
                return grpc.aio.secure_channel(target["grpc"], grpc.ssl_channel_credentials(ca.read()))
        return grpc.aio.insecure_channel(target["grpc"])

    async def call(self, channel, case, tokens):
        if case.get("fixed"):
            raise CannotSay
        stub = svc_pb2_grpc.CerbosServiceStub(channel)
        common = {"requestId": case.get("requestId", ""), "principal": case.get("principal"), "includeMeta": case.get("meta", False)}
        if "context" in case:
            common["requestContext"] = case["context"]
        match case["call"]:
            case "check":
                method, request = stub.CheckResources, request_pb2.CheckResourcesRequest()
                fields = common | {"resources": case["resources"]}
            case "plan":
                method, request = stub.PlanResources, request_pb2.PlanResourcesRequest()
                fields = common | {"resource": case["resource"]} | {k: case[k] for k in ("action", "actions") if k in case}
            case "checkSet":
                method, request = stub.CheckResourceSet, request_pb2.CheckResourceSetRequest()
                fields = common | {"actions": case["actions"], "resource": case["set"]}
            case "checkBatch":
                method, request = stub.CheckResourceBatch, request_pb2.CheckResourceBatchRequest()
                fields = common | {"resources": case["resources"]}
                del fields["includeMeta"]
            case _:
                raise CannotSay
        ParseDict(fields, request)
        if aux := GRPC.aux(case, tokens):
            request.aux_data.CopyFrom(aux)
        return message(await method(request), case)


def message(answer, case):
    fields = MessageToDict(answer)
    if case["call"] in ("check", "plan"):
        fields["callId"] = bool(fields.pop("cerbosCallId", ""))
    if "requestId" not in case:
        fields.pop("requestId", None)
    return fields


# ---- all of them --------------------------------------------------------------------

CLIENTS = {
    "python http sync": HTTP(http_client.CerbosClient),
    "python http async": HTTP(http_client.AsyncCerbosClient),
    "python http raising": HTTP(
        http_client.CerbosClient, raise_on_error=True, debug=True, timeout_secs=5, logger=logging.getLogger("none")
    ),
    "python grpc sync": GRPC(grpc_client.CerbosClient),
    "python grpc async": GRPC(grpc_client.AsyncCerbosClient, timeout_secs=5),
    "python admin sync": Admin(grpc_client.CerbosAdminClient),
    "python admin async": Admin(grpc_client.AsyncCerbosAdminClient),
    "python stub": Stub(),
}


async def ask(kind, client, case, tokens):
    try:
        return await kind.call(client, case, tokens)
    except grpc.RpcError as error:  # of both kinds of clients
        return {"code": error.code().value[0], "message": error.details()}
    except httpx.HTTPStatusError as error:
        return {"raised": type(error).__name__, "status": error.response.status_code}
    except (httpx.TransportError, KeyError) as error:
        # The SDK asks for "val" of every output, and has a KeyError for one that failed.
        return {"raised": type(error).__name__}


async def enter(stack, client):
    if hasattr(client, "__aenter__"):
        return await stack.enter_async_context(client)
    return stack.enter_context(client)


async def main():
    work = json.load(sys.stdin)
    for transport, target in work["targets"].items():
        for name, kind in CLIENTS.items():
            async with AsyncExitStack() as stack:
                try:
                    client = await enter(stack, kind.open(target))
                except CannotSay:
                    continue
                absent = await enter(stack, kind.open(work["nowhere"]))
                guessing = target | {"admin": target["admin"] | {"password": "guess"}} if "admin" in target else target
                stranger = await enter(stack, kind.open(guessing))
                for case in work["cases"]:
                    if not (target.get("whole") or case.get("everywhere")) or case.get("admin", False) != ("admin" in target):
                        continue
                    to = absent if case.get("nowhere") else stranger if case.get("stranger") else client
                    try:
                        answer = await ask(kind, to, case, work["tokens"])
                    except CannotSay:
                        continue
                    print(json.dumps({"client": name, "transport": transport, "case": case["name"], "answer": answer}))


if __name__ == "__main__":
    asyncio.run(main())
