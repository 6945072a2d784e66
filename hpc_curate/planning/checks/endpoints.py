"""Models that stages ask over the OpenAI protocol: does the server answer, to this key, and has it the model?"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from hpc_curate import credentials
from hpc_curate.chat.endpoint import Endpoint
from hpc_curate.chat.http_channel import NoRedirect
from hpc_curate.plan import Plan
from hpc_curate.planning.checks import OK, RED, WARNING, Finding

_PATIENCE_S = 20.0
_MOST_BYTES = 1 << 20
_REFUSED = (401, 403)


def look(plan: Plan) -> dict[str, dict[str, Any]]:
    """What the endpoint of each stage says, by stage."""
    asking = {name: step for name, step in plan.steps.items() if getattr(step.stage, "backend", "") == "endpoint"}
    return {name: _look(step.resources.endpoint) for name, step in asking.items() if step.resources.endpoint}


def _look(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.serve:
        return {"serve": endpoint.serve[0], "found": shutil.which(endpoint.serve[0]) or ""}
    found: dict[str, Any] = {"url": credentials.redacted(str(endpoint.url)), "key": endpoint.key_variable}
    key = os.environ.get(endpoint.key_variable)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"{str(endpoint.url).rstrip('/')}/models", headers=headers)
    try:
        # A key must not follow wherever an answer points.
        with urllib.request.build_opener(NoRedirect()).open(request, timeout=_PATIENCE_S) as answer:
            return {**found, "status": answer.status, "models": _models(answer.read(_MOST_BYTES))}
    except urllib.error.HTTPError as error:
        error.close()
        return {**found, "status": error.code, "models": []}
    except (OSError, http.client.HTTPException) as error:
        return {**found, "error": str(getattr(error, "reason", None) or error or type(error).__name__)}


def _models(body: bytes) -> list[str]:
    try:
        return [str(model["id"]) for model in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError):
        return []


def judge(facts: Mapping[str, Mapping[str, Any]], plan: Plan, *, works_here: bool) -> list[Finding]:
    """Whether each stage would get answers.

    Args:
        works_here: tasks run where was looked; else a server may be out of reach there and not for them.
    """
    return [_judge(name, found, plan, RED if works_here else WARNING) for name, found in facts.items()]


def _judge(stage: str, found: Mapping[str, Any], plan: Plan, missing: str) -> Finding:
    what, place = f"endpoint of {stage}", f"resources.{stage}.endpoint"
    if "serve" in found:
        if found["found"]:
            return Finding(what, f"started by the task: {found['found']}")
        advice = f"install it where tasks run, or {place}.url names a server that runs already"
        return Finding(what, f"{found['serve']} is no program here", missing, advice)
    if "error" in found:
        advice = f"does the server run, may nodes reach it? {place}.url"
        return Finding(what, f"{found['url']} does not answer: {found['error']}", missing, advice)
    said, wanted = f"{found['url']} answers with {found['status']}", str(getattr(plan.steps[stage].stage, "model", ""))
    if found["status"] in _REFUSED:
        return Finding(what, said, RED, f"the key belongs in ${found['key']}, in the environment of tasks too")
    if found["status"] != http.HTTPStatus.OK:
        return Finding(what, f"{said} where it should list its models", WARNING, f"{place}.url ends in /v1, mostly")
    if found["models"] and wanted not in found["models"]:
        served = ", ".join(found["models"][:3])
        return Finding(what, f"{said}, but serves {served}", WARNING, f"stage.{stage}.model, now {wanted}")
    return Finding(what, said, OK)
