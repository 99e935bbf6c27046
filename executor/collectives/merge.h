// top_k_merge without the messages: sorted candidate lists in, the best of all out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace exo::collectives {

/// lists: per rank [rows, k] f32 values and then [rows, k] i32 ids, each row best first, id -1 for none.
/// out_*: [rows, k], best first; equal values: smaller id first; NaN after every number; the rest is id -1, value -inf.
void mergeCandidates(std::span<const std::byte> lists, int num_lists, int64_t rows, int64_t k, std::span<float> out_values,
                     std::span<int32_t> out_ids);

}  // namespace exo::collectives
