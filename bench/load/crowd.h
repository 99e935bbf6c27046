// Carries out the visits of many clients at once from one thread, so that the clients take as little of the machine as they can.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/load/visit.h"
#include "ir/base/result.h"

namespace exo::load {

struct Target {
  std::string host = "127.0.0.1";      // a literal address or a name
  uint16_t port = 0;
};
/// "http://127.0.0.1:52415", nothing behind the port. Error kInvalidInput.
Result<Target> parseTarget(const std::string& url);

/// By client, in the order of their visits; last of all those of `watch`, which are repeated until the clients have ended, if there are any. `patience`: of
/// one visit, its read_pause not counted. Error kNotFound for a host without an address.
Result<std::vector<std::vector<VisitOutcome>>> run(const Target& target, const std::vector<Client>& clients, Seconds patience, const Client& watch = {});

}  // namespace exo::load
