// The file of a rank's packed weights (weight_cache.h says when one is written and what is trusted):
//   head:     Fixed (weight_file.cc), the key as text, a checksum per 8 MiB of payload, zeros up to a multiple of 2 MiB
//   payload:  the weights as loadWeights lays them out; 2 MiB-aligned, so that the page cache can map it in huge pages
// The head has a checksum of its own. Little-endian hosts. Until the file is complete its head counts what has been done.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "executor/runtime/memory.h"
#include "executor/runtime/threads.h"
#include "ir/base/file_descriptor.h"
#include "ir/base/result.h"

namespace exo::runtime {

/// Packed bytes done and in total; called from one thread at a time, now and then and at the end.
using LoadProgress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

class WeightFile {
 public:
  WeightFile(std::string key, uint64_t payload_bytes);

  /// Of 64 bits of the key.
  std::string name() const;
  /// What it takes of a disk: the zeros of the head are a hole.
  uint64_t diskBytes() const { return used_head_bytes_ + payload_bytes_; }

  /// The payload of a complete file, read-only. All of it is read, on all threads. Errors: kNotFound; kMismatch for another
  /// key, size or checksum; kIo for a file that cannot be read or that others own; kCancelled.
  Result<Memory> map(const std::filesystem::path& path, ThreadPool& pool, const LoadProgress& progress, const std::atomic<bool>* cancel) const;

  /// Empties the file and takes disk blocks for all of it. The payload, zeroed, to be written.
  Result<Memory> reserve(const FileDescriptor& file) const;
  /// Any number that grows as the work does.
  void setDone(const FileDescriptor& file, uint64_t done) const;
  uint64_t done(const FileDescriptor& file) const;
  /// The payload is all there: writes the head. Errors: kIo; kCancelled.
  Status complete(const FileDescriptor& file, const Memory& payload, ThreadPool& pool, const std::atomic<bool>* cancel) const;

 private:
  struct Fixed;
  std::string head(const std::string& checksums) const;
  Status checkHead(const FileDescriptor& file, std::string& checksums) const;

  const std::string key_;
  const uint64_t payload_bytes_, used_head_bytes_, head_bytes_;
};

}  // namespace exo::runtime
