"""The HTTP API as one ASGI application.

A request goes through the same steps whatever it wants, and the first that says no answers::

    route -> 404, 405 | 501 for what is not built     token -> 401     scope -> 403
    rate -> 429     handler -> its answer, or an exception of ours, or 500 and a line in the log

No answer holds a stack trace; every one holds the id under which the log has it. Nothing here decides
about messages: a handler parses, makes one call of the writer, and renders.
"""

from __future__ import annotations

from typing import Final

from lateron.api import (
    audit,
    examine,
    figures,
    flow,
    groups,
    history,
    jobs,
    logins,
    overview,
    publish,
    queues,
    resources,
    schedules,
    stream,
    tokens,
    users,
)
from lateron.api.audit import ACTIONS, complete, note_of
from lateron.api.auth import Failures, Proxies, RateLimit, Token, identify, token_of
from lateron.api.call import COUNTED, Answer, Call, ClientGone, InFlight, Live, Receive, Scope, Send, failure, refusal
from lateron.api.console import ROOT, Console
from lateron.api.ports import Ports
from lateron.api.routes import Access, Family, Matched, Route, Router
from lateron.broker.resources import Identity
from lateron.core.token import require
from lateron.errors import NotSupported, Unauthorized
from lateron.writer import noting

CATCH: Final = b"/_catch/"

PUBLIC, PUBLISH, READ, CHANGE, ADMIN = Access.PUBLIC, Access.PUBLISH, Access.READ, Access.CHANGE, Access.ADMIN

ROUTES: Final = (
    Route("POST", f"{publish.PREFIX}{{destination}}", PUBLISH, publish.publish, limited=False),
    Route("POST", "/v2/batch", PUBLISH, publish.batch, limited=False),
    Route("POST", "/v2/enqueue/{queueName}/{destination}", PUBLISH, queues.enqueue, limited=False),
    Route("GET", "/v2/queues", READ, queues.list_queues),
    Route("POST", "/v2/queues", CHANGE, queues.set_queue),
    Route("GET", "/v2/queues/{queueName}", READ, queues.get_queue),
    Route("DELETE", "/v2/queues/{queueName}", CHANGE, queues.delete_queue),
    Route("POST", "/v2/queues/{queueName}/pause", CHANGE, queues.pause_queue),
    Route("POST", "/v2/queues/{queueName}/resume", CHANGE, queues.resume_queue),
    Route("GET", "/v2/messages", READ, resources.list_messages),
    Route("DELETE", "/v2/messages", CHANGE, resources.cancel_messages),
    Route("GET", "/v2/messages/{messageId}", READ, resources.get_message),
    Route("DELETE", "/v2/messages/{messageId}", CHANGE, resources.cancel_message),
    Route("GET", "/v2/events", READ, history.events),
    Route("GET", "/v2/logs", READ, history.logs),
    Route("GET", "/v2/dlq", READ, history.list_dead),
    Route("DELETE", "/v2/dlq", CHANGE, history.delete_many_dead),
    Route("POST", "/v2/dlq/retry", CHANGE, history.retry_many_dead),
    Route("POST", "/v2/dlq/retry/{dlqId}", CHANGE, history.retry_dead),
    Route("GET", "/v2/dlq/{dlqId}", READ, history.get_dead),
    Route("DELETE", "/v2/dlq/{dlqId}", CHANGE, history.delete_dead),
    Route("POST", "/v2/schedules/{destination}", CHANGE, publish.schedule),
    Route("GET", "/v2/schedules", READ, schedules.listing),
    Route("GET", "/v2/schedules/{scheduleId}", READ, schedules.show),
    Route("DELETE", "/v2/schedules/{scheduleId}", CHANGE, schedules.delete),
    Route("PATCH", "/v2/schedules/{scheduleId}/pause", CHANGE, schedules.pause),
    Route("POST", "/v2/schedules/{scheduleId}/pause", CHANGE, schedules.pause),
    Route("PATCH", "/v2/schedules/{scheduleId}/resume", CHANGE, schedules.resume),
    Route("POST", "/v2/schedules/{scheduleId}/resume", CHANGE, schedules.resume),
    Route("POST", "/v2/schedules/{scheduleId}/run", CHANGE, schedules.run),
    Route("GET", "/lateron/v1/schedules/{scheduleId}/next", READ, schedules.preview),
    Route("GET", "/lateron/v1/cron", READ, schedules.preview_cron),
    Route("GET", "/v2/topics", READ, groups.list_groups),
    Route("GET", "/v2/topics/{urlGroupName}", READ, groups.get_group),
    Route("PATCH", "/v2/topics/{urlGroupName}", CHANGE, groups.set_defaults),
    Route("DELETE", "/v2/topics/{urlGroupName}", CHANGE, groups.delete_group),
    Route("POST", "/v2/topics/{urlGroupName}/endpoints", CHANGE, groups.save_endpoints),
    Route("DELETE", "/v2/topics/{urlGroupName}/endpoints", CHANGE, groups.remove_endpoints),
    Route("GET", "/v2/flowControl", READ, flow.list_keys),
    Route("GET", "/v2/flowControl/{flowControlKey}", READ, flow.get_key),
    Route("POST", "/v2/flowControl/{flowControlKey}/pause", CHANGE, flow.pause_key),
    Route("POST", "/v2/flowControl/{flowControlKey}/resume", CHANGE, flow.resume_key),
    Route("POST", "/v2/flowControl/{flowControlKey}/pin", CHANGE, flow.pin_key),
    Route("POST", "/v2/flowControl/{flowControlKey}/unpin", CHANGE, flow.unpin_key),
    Route("POST", "/v2/flowControl/{flowControlKey}/resetRate", CHANGE, flow.reset_key),
    Route("POST", "/v2/flowControl/{flowControlKey}/reset", CHANGE, flow.reset_key),
    Route("GET", "/v2/globalParallelism", READ, flow.global_parallelism),
    Route("GET", "/v2/keys", READ, resources.get_keys),
    Route("POST", "/v2/keys/rotate", ADMIN, resources.rotate_keys),
    Route("POST", "/v2/rotate", ADMIN, resources.rotate_keys),
    Route("GET", "/lateron/v1/messages/{messageId}", READ, history.story),
    Route("POST", "/lateron/v1/messages/{messageId}/retry", CHANGE, jobs.retry_now),
    Route("GET", "/lateron/v1/jobs", READ, jobs.list_jobs),
    Route("POST", "/lateron/v1/jobs", CHANGE, jobs.create_job),
    Route("GET", "/lateron/v1/jobs/{jobId}", READ, jobs.get_job),
    Route("POST", "/lateron/v1/jobs/{jobId}/cancel", CHANGE, jobs.cancel_job),
    Route("GET", "/lateron/v1/info", READ, resources.info),
    Route("GET", "/lateron/v1/overview", READ, overview.overview),
    Route("GET", "/lateron/v1/stream", READ, stream.stream),
    Route("GET", "/lateron/v1/destinations", READ, flow.list_destinations),
    Route("POST", "/lateron/v1/destinations/{host}/pause", CHANGE, flow.pause_destination),
    Route("POST", "/lateron/v1/destinations/{host}/resume", CHANGE, flow.resume_destination),
    Route("POST", "/lateron/v1/destinations/{host}/test", CHANGE, examine.examine),
    Route("GET", "/lateron/v1/delivery", READ, flow.get_delivery),
    Route("POST", "/lateron/v1/delivery/pause", ADMIN, flow.pause_delivery),
    Route("POST", "/lateron/v1/delivery/resume", ADMIN, flow.resume_delivery),
    Route("GET", "/lateron/v1/tokens", ADMIN, tokens.list_tokens),
    Route("POST", "/lateron/v1/tokens", ADMIN, tokens.create_token),
    Route("DELETE", "/lateron/v1/tokens/{tokenName}", ADMIN, tokens.revoke_token),
    Route("POST", "/lateron/v1/tokens/{tokenName}/reset", ADMIN, tokens.reset_token),
    Route("GET", "/lateron/v1/users", ADMIN, users.list_users),
    Route("POST", "/lateron/v1/users", ADMIN, users.create_user),
    Route("PATCH", "/lateron/v1/users/{userName}", ADMIN, users.change_user),
    Route("DELETE", "/lateron/v1/users/{userName}", ADMIN, users.remove_user),
    Route("GET", "/lateron/v1/sessions", ADMIN, logins.list_sessions),
    Route("DELETE", "/lateron/v1/sessions", ADMIN, logins.end_sessions),
    Route("DELETE", "/lateron/v1/sessions/{sessionId}", ADMIN, logins.end_session),
    Route("GET", "/lateron/v1/audit", ADMIN, audit.list_records),
    Route("GET", "/lateron/v1/config", ADMIN, resources.configuration),
    Route("GET", "/lateron/v1/catcher", READ, resources.list_catchers),
    Route("DELETE", "/lateron/v1/catcher", CHANGE, resources.clear_catchers),
    Route("GET", "/lateron/v1/catcher/{name}", READ, resources.list_caught),
    Route("DELETE", "/lateron/v1/catcher/{name}", CHANGE, resources.clear_caught),
    Route("GET", "/metrics", READ, figures.metrics, limited=False),
    Route("GET", "/healthz", PUBLIC, resources.health),
    Route("GET", "/readyz", PUBLIC, resources.readiness),
    Route("GET", "/openapi.json", PUBLIC, resources.openapi),
)

# What a management call may have changed, by the second word of its path; ours are about flow.
_TOPICS: Final = {
    "queues": "queues",
    "messages": "messages",
    "dlq": "dlq",
    "schedules": "schedules",
    "topics": "groups",
}
_WORKFLOW: Final = "the workflow protocol is"
FAMILIES: Final = (
    Family("/v2/trigger", _WORKFLOW),
    Family("/v2/batch/trigger", _WORKFLOW),
    Family("/v2/wait", _WORKFLOW),
    Family("/v2/notify", _WORKFLOW),
    Family("/v2/waiters", _WORKFLOW),
    Family("/v2/workflows", _WORKFLOW),
    Family("/v2/workflows/hooks", _WORKFLOW, public=True),  # A webhook has no token.
)


class Api:
    """The application; hand it to an ASGI server."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._router = Router(ROUTES, FAMILIES)
        self._proxies = Proxies(ports.trusted_proxies)
        self._failures = Failures(ports.clock)
        self._rate = RateLimit(ports.rate_limit, ports.clock)
        self._in_flight = InFlight(ports.in_flight_bytes)
        console = ports.console
        self._console = None if console is None else Console(ports, console, self._proxies, self._failures)
        self.lane = publish.FastLane(ports, self._proxies.caller, self._in_flight)  # For the protocol; may be left out.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http", "the server is configured without lifespan and WebSockets"
        call = Call(scope, receive, self._ports.request_id(), self._in_flight)
        try:
            if call.path.startswith(CATCH) and self._ports.catcher is not None:
                await self._ports.catcher(scope, receive, send)
                return
            if self._console is not None and (call.path == ROOT or call.path.startswith(ROOT + b"/")):
                await self._console.serve(call, send)
                return
            answer = await self._answer(call)
            self._ports.counters.add(COUNTED[answer.status])
            if isinstance(answer, Live):
                await answer.tell(call, send)
            else:
                await call.send(send, answer)
        except ClientGone:
            self._ports.counters.add("api_clients_gone")
        finally:
            call.close()

    async def _answer(self, call: Call) -> Answer:
        """Return the answer to a call, whatever happens."""
        try:
            return await self._served(call)
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - A bug of ours costs one request, not the server.
            return failure(error, call.id, call.method)

    async def _served(self, call: Call) -> Answer:
        ports = self._ports
        found = self._router.match(call.path, call.query)
        if found is None:
            return refusal(404, "no such path; GET /openapi.json lists what there is")
        call.caller_ip = self._proxies.caller(call.peer, call.forwarded_for)
        if isinstance(found, Family):
            return await self._unbuilt(call, found)
        route = found.routes.get("GET" if call.method == "HEAD" else call.method)
        if route is None:
            return _wrong_method(call, found)
        call.params, call.rest = found.params, found.rest
        if route.access is not Access.PUBLIC:
            await self._enter(call, route.access)
            refused = self._rate.take(call.who) if route.limited else None
            if refused is not None:
                return refused
        answer = await self._handled(call, route)
        if route.limited and route.access not in {Access.PUBLIC, Access.READ} and answer.status < 300:
            ports.boards.changed(call.who.tenant, _TOPICS.get(route.path.split("/")[2], "flow"))
        return answer

    async def _handled(self, call: Call, route: Route) -> Answer:
        """Return the handler's answer; what it changes is noted in the audit log."""
        action = ACTIONS.get(f"{route.method} {route.path}")
        if action is None:
            return await route.handler(self._ports, call)
        call.note = note = note_of(self._ports, call, action)
        with noting(note):
            answer = await route.handler(self._ports, call)
        await complete(self._ports, call, answer.status)
        return answer

    async def _unbuilt(self, call: Call, family: Family) -> Answer:
        """Refuse what is not built, after the same checks as all else."""
        if not family.public:
            await self._enter(call, Access.READ if call.method in {"GET", "HEAD"} else Access.CHANGE)
        raise NotSupported(f"{family.what} not supported yet: {call.method} {family.prefix}")

    async def _enter(self, call: Call, access: Access) -> None:
        """Find out who is calling and whether he may.

        Raises:
            Unauthorized: Nobody we know.
            Forbidden: Somebody who may not.
        """
        token = token_of(call.authorizations, call.query)
        try:
            if self._console is not None and token.token is None and token.in_query:
                call.identity = self._console.identity(call)
            if call.identity is None:
                call.identity = identify(token, self._ports.authenticate, self._ports.query_token)
        except Unauthorized:
            if self._failures.slow_down(call.caller_ip):
                await self._ports.pause()
            raise
        require(call.identity.scope, access)
        who = call.identity
        call.again = lambda: self._is_still(call, token, who)

    def _is_still(self, call: Call, token: Token, who: Identity) -> bool:
        """Whether a caller who was let in would be let in now as the same."""
        if token.token is not None:
            return self._ports.authenticate(token.token) == who
        return self._console is not None and self._console.is_still(call, who)


def _wrong_method(call: Call, found: Matched) -> Answer:
    allowed = ", ".join(sorted(found.routes))
    return refusal(405, f"{call.method} is not allowed here; allowed: {allowed}", ((b"allow", allowed.encode()),))
