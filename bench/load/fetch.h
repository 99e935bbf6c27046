// One request and its whole answer, for what is asked beside a load.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "bench/load/crowd.h"

namespace exo::load {

/// GET, or POST with a body. The JSON of an answer with status 200. Errors: kPeerLost without an answer within 30 s, kMismatch for another status or no JSON.
Result<nlohmann::json> fetch(const Target& target, const std::string& path, const std::string& body = "");

/// Name of the model that is served.
Result<std::string> modelOf(const Target& target);

}  // namespace exo::load
