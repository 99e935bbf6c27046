#pragma once

#include "ir/graph.h"

namespace exo {

/// Gives every value of a step its place in one arena: first fit by live range, 64-byte aligned, sized for the largest step.
/// A value lives from the region that makes it to the end of the region that reads it last (threads of one region do not
/// wait for each other). Inputs live for the whole step, and so do outputs and the logits in front of a top_k.
/// Needs: a scheduled graph. Weights and caches get no offset: they are not in the arena.
Graph planMemory(const Graph& graph, StepSize largest);

/// Bytes of the arena that the offsets need.
int64_t arenaBytes(const Graph& graph, StepSize largest);

/// Error when two values that live at the same time share bytes.
Status verifyMemory(const Graph& graph, StepSize largest);

}  // namespace exo
