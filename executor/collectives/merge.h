// top_k_merge and log_sum_exp_merge without the messages: all ranks' blocks in, their merger out. Every rank computes it for
// itself; the bits are the same on all kinds of processors, since only basic IEEE operations are used, in one order, without
// fused multiply-add (see CMakeLists.txt) and without the library's exp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace exo::collectives {

/// lists: per rank [rows, k] f32 values and then [rows, k] i32 ids, each row best first, id -1 for none.
/// out_*: [rows, k], best first; equal values: smaller id first; NaN after every number; the rest is id -1, value -inf.
void mergeCandidates(std::span<const std::byte> lists, int num_lists, int64_t rows, int64_t k, std::span<float> out_values,
                     std::span<int32_t> out_ids);

/// partials: per rank [rows] f32 maxima m, [rows] sums l, [rows, d] outputs o. With M the largest m of a row:
/// out = sum of exp(m - M) o over ranks in order / sum of exp(m - M) l. Rows of which no rank has any position (all m are
/// -inf): 0.
void mergeLogSumExp(std::span<const std::byte> partials, int num_ranks, int64_t rows, int64_t d, std::span<float> out);

/// e^x for x <= 0, right to 1 ulp; the same bits everywhere. NaN for NaN.
float expOfNegative(float x);

}  // namespace exo::collectives
