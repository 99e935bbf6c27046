// Every rank but 0: waits for a step message, runs the step, until told to stop. Waiting for ever is fine while rank 0
// lives; it costs next to no processor time.
#pragma once

#include <chrono>

#include "executor/runtime/engine.h"
#include "ir/base/result.h"

namespace exo::runtime {

/// Returns OK after rank 0's stop. Errors: kPeerLost when rank 0 (or, within a step, any peer) is gone, kTimeout,
/// kMismatch for messages that are none or steps out of order, kCancelled by the mesh's flag. `timeout`: of the rest of a
/// message whose beginning has arrived, and of sending logits.
Status follow(Engine& engine, transport::Mesh& mesh, std::chrono::milliseconds timeout);

}  // namespace exo::runtime
