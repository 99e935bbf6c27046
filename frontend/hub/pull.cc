#include "frontend/hub/pull.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "frontend/hub/api.h"
#include "frontend/hub/cache.h"
#include "frontend/hub/incomplete_file.h"
#include "frontend/hub/selection.h"

namespace exo::hub {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kSpareBytes = 64 << 20;   // left free on the disk

/// The files of one pull, worked off by several threads, each with a connection of its own.
class Download {
 public:
  Download(const Environment& environment, const Repository& repository, const Cache& cache, std::string commit, std::vector<RemoteFile> files)
      : environment_(environment), repository_(repository), cache_(cache), commit_(std::move(commit)), files_(std::move(files)) {
    // The largest first: the last connection at work should not be one that has just begun a large file.
    std::sort(files_.begin(), files_.end(), [](const RemoteFile& a, const RemoteFile& b) { return a.size_bytes > b.size_bytes; });
  }

  Status run(const PullOptions& options, const HttpOptions& http) {
    HttpOptions mine = http;
    mine.cancel = &stop_;
    const size_t count = std::min(files_.size(), static_cast<size_t>(std::max(1, options.connections)));
    working_ = count;
    {
      std::vector<std::jthread> threads;
      for (size_t i = 0; i < count; ++i) threads.emplace_back([&] { work(mine); });
      wait(options);
    }
    if (error_) return *error_;
    if (options.cancel && *options.cancel) return makeError(ErrorCode::kCancelled, "cancelled; the same command goes on from here");
    return {};
  }

 private:
  void work(const HttpOptions& options) {
    HttpClient http(options);
    while (!stop_) {
      const size_t index = next_++;
      if (index >= files_.size()) break;
      if (Status done = fetch(http, files_[index]); !done.ok()) {
        fail(std::move(done).error());
        break;
      }
      ++done_files_;
    }
    const std::lock_guard lock(mutex_);
    --working_;
    changed_.notify_all();
  }

  void fail(Error error) {
    const std::lock_guard lock(mutex_);
    if (!error_ && !stop_) error_ = std::move(error);
    stop_ = true;
  }

  /// Until all threads have ended; progress and cancelling meanwhile.
  void wait(const PullOptions& options) {
    std::unique_lock lock(mutex_);
    while (working_ > 0) {
      changed_.wait_for(lock, std::chrono::milliseconds(100));
      if (options.cancel && *options.cancel) stop_ = true;
      if (options.on_progress) options.on_progress(progress());
    }
    if (options.on_progress) options.on_progress(progress());
  }

  PullProgress progress() const {
    PullProgress progress{.done_bytes = done_bytes_, .done_files = done_files_, .total_files = static_cast<int>(files_.size())};
    for (const RemoteFile& file : files_) progress.total_bytes += file.size_bytes;
    return progress;
  }

  Status fetch(HttpClient& http, const RemoteFile& file) {
    std::error_code error;
    if (!cache_.has(commit_, file)) {
      EXO_ASSIGN(const FileDescriptor lock, cache_.lock(file, &stop_));
      if (fs::file_size(cache_.blob(file), error) != file.size_bytes || error) return fetchBlob(http, file);
      EXO_TRY(cache_.link(commit_, file));
    }
    done_bytes_ += file.size_bytes;
    return {};
  }

  Status fetchBlob(HttpClient& http, const RemoteFile& file) {
    const auto count = [this](int64_t bytes) { done_bytes_ += static_cast<uint64_t>(bytes); };
    EXO_ASSIGN(IncompleteFile incomplete, IncompleteFile::open(cache_.blob(file), file, count));
    const bool resumed = incomplete.position() > 0;
    const std::string url = fileUrl(environment_, repository_, commit_, file);
    EXO_TRY(http.download(url, file.size_bytes, incomplete));
    Status done = incomplete.commit();
    if (!done.ok() && done.error().code() == ErrorCode::kMismatch && resumed) {   // what was there before was no good
      EXO_TRY(http.download(url, file.size_bytes, incomplete));
      done = incomplete.commit();
    }
    EXO_TRY(std::move(done));
    return cache_.link(commit_, file);
  }

  const Environment& environment_;
  const Repository& repository_;
  const Cache& cache_;
  std::string commit_;
  std::vector<RemoteFile> files_;
  std::atomic<size_t> next_ = 0;
  std::atomic<uint64_t> done_bytes_ = 0;
  std::atomic<int> done_files_ = 0;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t working_ = 0;            // under mutex_
  std::optional<Error> error_;    // the first one; under mutex_
};

Status checkSpace(const Cache& cache, const fs::path& folder, const std::string& commit, const std::vector<RemoteFile>& files) {
  uint64_t missing = 0;
  std::error_code error;
  for (const RemoteFile& file : files) {
    if (cache.has(commit, file)) continue;
    const uint64_t partly = fs::file_size(cache.blob(file).string() + ".incomplete", error);
    missing += file.size_bytes - (error ? 0 : std::min(partly, file.size_bytes));
  }
  const fs::space_info space = fs::space(folder, error);
  if (error || missing == 0 || space.available >= missing + kSpareBytes) return {};
  return makeError(ErrorCode::kDoesNotFit, folder.string(), ": ", missing >> 20, " MiB are to come, ", space.available >> 20, " MiB are free; HF_HUB_CACHE names another folder");
}

}  // namespace

Result<fs::path> findPulled(const Environment& environment, const Repository& repository) {
  const auto snapshot = Cache(environment.cache, repository).snapshot(repository.revision);
  if (!snapshot) {
    return makeError(ErrorCode::kNotFound, repository.id(), " (", repository.revision, ") is not in ", environment.cache.string(), "; `exoc pull ", repository.id(),
                     repository.variant.empty() ? "" : ":" + repository.variant, "` downloads it");
  }
  return modelInSnapshot(*snapshot, repository);
}

Result<fs::path> pull(const Environment& environment, const Repository& repository, const PullOptions& options) {
  if (environment.offline) return findPulled(environment, repository);
  HttpOptions http_options = options.http;
  http_options.token = environment.token;
  http_options.cancel = options.cancel;
  HttpClient http(http_options);
  EXO_ASSIGN(const std::string commit, resolveCommit(http, environment, repository));
  EXO_ASSIGN(const std::vector<RemoteFile> all, listFiles(http, environment, repository, commit));
  EXO_ASSIGN(std::vector<RemoteFile> files, selectFiles(all, repository));
  const Cache cache(environment.cache, repository);
  EXO_TRY(cache.prepare(commit));
  EXO_TRY(checkSpace(cache, environment.cache, commit, files));
  EXO_TRY(Download(environment, repository, cache, commit, std::move(files)).run(options, http_options));
  EXO_TRY(cache.setRevision(repository.revision, commit));
  return modelInSnapshot(*cache.snapshot(commit), repository);
}

}  // namespace exo::hub
