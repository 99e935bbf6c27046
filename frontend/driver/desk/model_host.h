// Models that come and go on this machine: each on local nodes of its own, as `exoc serve MODEL` starts them, with their server at a
// loopback port. Loads and unloads one at a time, in a thread of its own; what is loaded at once is bounded by memory.
// Threads: any.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "frontend/driver/compile.h"
#include "frontend/driver/desk/catalogue.h"
#include "frontend/driver/local_cluster.h"
#include "ir/base/result.h"

namespace exo {

struct HostOptions {
  CompileOptions compile;
  LocalClusterOptions nodes;                   // .http: flags of the models' servers, without address and name
  int64_t memory_bytes = 0;                    // for all models together
  std::chrono::milliseconds patience{240'000}; // of a request for memory that others use
  std::function<void(const std::string& line)> note;   // for the log; may be empty
};

struct HostedModel {
  std::string name, url;
  int64_t memory_bytes = 0;
  int num_nodes = 0, requests = 0;             // requests: those that are relayed now
  std::chrono::system_clock::time_point loaded_at;
};

class ModelHost {
 public:
  explicit ModelHost(HostOptions options);
  /// Answers that run are given `drain` of the options' nodes, unless hurry() was called; then the nodes end.
  ~ModelHost();

  /// While it lives the model stays.
  class Lease {
   public:
    Lease(ModelHost& host, std::string name, std::string url) : host_(&host), name_(std::move(name)), url_(std::move(url)) {}
    Lease(Lease&& other) noexcept : host_(std::exchange(other.host_, nullptr)), name_(std::move(other.name_)), url_(std::move(other.url_)) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (host_) host_->release(name_);
    }
    const std::string& url() const { return url_; }

   private:
    ModelHost* host_;
    std::string name_, url_;
  };
  using Ready = std::function<void(Result<Lease> lease)>;

  /// `ready` is called once: now, where the model is loaded, else from the host's thread. Errors: kDoesNotFit with what is needed and what is
  /// there; kTimeout where others use the memory too long; kCancelled when the host ends; what compiling and loading say.
  void acquire(const CatalogueEntry& entry, Ready ready);
  /// When its requests are answered. `done` as `ready`; kNotFound where it is not loaded.
  void unload(const std::string& name, std::function<void(Status)> done);

  std::vector<HostedModel> loaded() const;     // the one used last first
  /// Nothing new is loaded; waits until nobody holds a lease, at most as long as `wait` says, then ends all nodes.
  void end(const std::function<bool()>& wait);

 private:
  struct Hosted;
  struct Job {
    CatalogueEntry entry;
    Ready ready;                               // null: an unload
    std::function<void(Status)> done;
  };
  void run();
  void carryOut(Job& job);
  Result<Lease> lease(const std::string& name);   // under the lock; kNotFound
  Result<Lease> load(const CatalogueEntry& entry);
  Status makeRoom(int64_t bytes, const std::string& name);
  void stop(std::unique_ptr<Hosted> hosted);
  void release(const std::string& name);
  void note(const std::string& line) const;

  const HostOptions options_;
  mutable std::mutex mutex_;                   // of all below
  std::condition_variable changed_;
  std::list<std::unique_ptr<Hosted>> models_;  // the one used last first
  std::list<Job> jobs_;
  bool ending_ = false;
  std::atomic<bool> cancelled_ = false;        // for a load under way
  std::thread thread_;
};

}  // namespace exo
