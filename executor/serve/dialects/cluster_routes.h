// What a running cluster shows of itself, over HTTP: GET /v1/cluster/state, /events and /series, and POST
// /v1/cluster/requests/ID/cancel. The bodies are ClusterState's.
#pragma once

#include <vector>

#include "executor/serve/completion.h"
#include "executor/serve/http/router.h"
#include "executor/serve/state/cluster_state.h"

namespace exo::serve {

/// Both outlive what is served. A stream of events ends when the engine does.
std::vector<http::Route> clusterRoutes(CompletionEngine& engine, const ClusterState& state);

}  // namespace exo::serve
