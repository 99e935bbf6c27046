// A model from the hub into the cache that Hugging Face's tools share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "frontend/hub/environment.h"
#include "frontend/hub/http_client.h"
#include "frontend/hub/repository.h"
#include "ir/base/result.h"

namespace exo::hub {

struct PullProgress {
  uint64_t done_bytes = 0, total_bytes = 0;   // done: those found here too
  int done_files = 0, total_files = 0;
};

struct PullOptions {
  int connections = 4;                                       // at a time
  HttpOptions http;                                          // its token and cancel flag are filled in
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(const PullProgress&)> on_progress;      // from the calling thread, about ten times a second; may be empty
};

/// Downloads what is missing, whole and checked, and returns what to open (selection.h). Killed or cancelled at any time, it goes on from
/// there the next time. Two at once share the work. Offline: what is in the cache, without a request.
/// Errors: kNotFound, kInvalidInput (no access), kDoesNotFit (the disk, before the first byte), kIo, kTimeout, kMismatch, kCancelled.
Result<std::filesystem::path> pull(const Environment& environment, const Repository& repository, const PullOptions& options);

/// What an earlier pull left here; error kNotFound telling how to get it.
Result<std::filesystem::path> findPulled(const Environment& environment, const Repository& repository);

}  // namespace exo::hub
