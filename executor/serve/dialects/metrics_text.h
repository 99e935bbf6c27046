// GET /metrics: what engine and server count, as Prometheus' text.
#pragma once

#include <string>

#include "executor/serve/completion.h"
#include "executor/serve/http/server.h"

namespace exo::serve {

std::string metricsText(const Metrics& metrics, EngineState state, const http::ServerStats& server);

}  // namespace exo::serve
