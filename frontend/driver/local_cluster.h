// The nodes of a plan as child processes on this machine: started, watched, and ended whatever happens to us.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "codegen/plan.h"

namespace exo {

struct LocalClusterOptions {
  int threads = 0;                        // per node; 0: the machine's cores divided by the nodes, at least one
  std::string isa = "auto", transport = "auto", tune = "auto";
  std::filesystem::path profiles;         // a directory for rank-0.json, rank-1.json, ... written when the nodes end; empty: none
  std::string weight_cache_dir;           // as exo-exec's flag: empty is the user's, "none" none
  std::vector<std::string> http;          // exo-exec's flags of the first rank's server; empty: none
  std::chrono::seconds timeout{120};      // without progress, until every node is ready
  /// Called while weights are loaded, with the sums over all nodes.
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> on_loading;
};

class LocalCluster {
 public:
  /// Starts one exo-exec per rank of the plan, on loopback ports the system chooses, and waits until all are ready.
  /// Errors: what a node reported, with its name; kTimeout; kCancelled when `cancel` turns true.
  static Result<std::unique_ptr<LocalCluster>> start(const plan::Plan& plan, const std::filesystem::path& directory,
                                                     const LocalClusterOptions& options, const std::atomic<bool>* cancel);
  /// Asks the nodes to stop, waits shortly, then kills. Children also die with this process.
  ~LocalCluster();

  /// host:port of the first rank's control service.
  const std::string& address() const { return address_; }
  /// Where the first rank serves; empty where it does not.
  const std::string& url() const { return url_; }
  /// How the nodes are linked, each pair once, as they said when they were ready.
  struct Link {
    std::string node, to, transport, why;
  };
  const std::vector<Link>& links() const { return links_; }
  /// The first rank, which serves, finishes what it has begun (its --drain_timeout bounds that) and ends; so do the others. Returns
  /// then, or soon after `hurry` turns true: it gives up what it has begun.
  void drain(const std::function<bool()>& hurry);
  /// The first error a node has reported so far, or nothing: the cause behind a connection that broke.
  std::optional<Error> failure();

 private:
  struct Child;
  LocalCluster() = default;
  Status spawn(const std::string& node, const std::filesystem::path& directory, const LocalClusterOptions& options);
  Status waitFor(const std::function<bool()>& done, const char* what, const LocalClusterOptions& options, const std::atomic<bool>* cancel);
  void readEvents(std::chrono::milliseconds wait);
  void handle(Child& child, const std::string& line);
  void stop();

  std::vector<std::unique_ptr<Child>> children_;
  std::string address_, url_;
  std::chrono::milliseconds end_patience_{3000};
  std::vector<Link> links_;
};

/// exo-exec beside this program, or where EXO_EXEC says.
std::filesystem::path executorPath();

}  // namespace exo
