// Packed weights on disk: written once by the process that packs them, mapped by every later one and used in place, so that
// a second start neither reads nor packs the model and nodes of one host with the same slices share the memory.
//
// A file holds all weights of one rank, as loadWeights lays them out. Its name is the hash of its key, and it repeats the
// key: layout version, what the source says it is (weight_source.h), and per weight encoding, shape and tensor slices. No
// path, rank, name or instruction set: equal content is packed once. weight_file.h has the format.
//
// What is trusted: nothing that was not read. Every start reads and checksums the whole file (which brings it into memory,
// and decode needs it there anyhow); a file of another size, key or checksum, or that another user owns or may write, counts
// as absent and is replaced. The checksum is against damage, not against this user: who can write the file can write the model.
// Because of it no write waits for the disk: what a power cut leaves behind is found damaged.
//
// Writing: NAME.packing is reserved on disk, locked with flock, filled through a mapping, and renamed to NAME when it is
// complete. The lock dies with its process, so a locked file has a living owner, which other processes wait for as long as
// its count of bytes (in the head) moves; one that is not locked was left behind, and is reused or removed.
// A cache that cannot be used costs time, not correctness: the weights are packed in private memory, with one warning.
//
// Space: before a file is written, those unused for longest are removed until the disk keeps `keep_free` of its size. All of
// them may be deleted at any time, also while nodes run.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "codegen/program.pb.h"
#include "executor/runtime/memory.h"
#include "executor/runtime/threads.h"
#include "executor/runtime/weight_file.h"
#include "ir/base/result.h"

namespace exo::runtime {

struct WeightCacheOptions {
  std::string directory;                          // empty: none
  /// What the weights are read from: equal text means equal bytes. Asked before packing and after: the file is kept when the
  /// answers are equal. No function or no text: nothing is cached.
  std::function<std::string()> source_identity;
  std::function<void(const std::string&)> warn;   // a line for the user; may be empty
  const std::atomic<bool>* cancel = nullptr;      // true ends waiting and checking with kCancelled
  uint64_t min_bytes = 16 << 20;                  // less is packed in a fraction of a second
  std::chrono::milliseconds patience{30'000};     // with another process that packs the same and does not get on
  double keep_free = 0.05;                        // of the file system
};

/// Fills zeroed memory with packed weights. Reports progress to the function given.
using Packer = std::function<Status(Memory& memory, const LoadProgress& progress)>;

/// The weights of a checked program, read-only: mapped, or packed by `pack` into a new file. Nothing when the cache cannot
/// or shall not be used. Errors are those of `pack`, and
/// kCancelled.
Result<std::optional<Memory>> cachedWeights(const program::Program& program, const WeightCacheOptions& options, ThreadPool& pool,
                                            const Packer& pack, const LoadProgress& progress);

/// What two programs have in common when their packed weights have equal bytes.
std::string weightKey(const program::Program& program, const std::string& source_identity);

}  // namespace exo::runtime
