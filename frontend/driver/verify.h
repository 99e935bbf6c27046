// What can be proven of a plan before it runs, from its programs and, where they were kept, its dumps.
#pragma once

#include <filesystem>

#include "codegen/plan.h"
#include "ir/graph.h"

namespace exo {

/// Every element of every tensor that any node loads is loaded by some node: the slices of all programs cover each tensor
/// wholly. Error kMismatch names the tensor and the first row or column without owner.
Status proveSlices(const plan::Plan& plan);

/// Collectives meet: replays the messages of all ranks' programs; every send has its receive, every group calls the same
/// operation in the same order with the same sizes. Error kMismatch names ranks and calls.
Status proveMessages(const plan::Plan& plan);

/// No two buffers that live at the same time share bytes, and all lie inside the arena. Live ranges are read off the calls.
Status proveBuffers(const plan::Plan& plan);

}  // namespace exo
