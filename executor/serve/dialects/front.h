// The server that a node opens for people and programs: its settings, checked, and its life.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "executor/serve/dialects/service.h"
#include "executor/serve/state/cluster_state.h"

namespace exo::serve {

/// As flags give them.
struct FrontFlags {
  std::string address;                // "127.0.0.1:52415", "[::1]:0"
  std::string api_key_file;           // empty: no key is asked for
  std::string origins, hosts;         // lists with commas, of http::AccessRules
  bool without_key = false;           // at an address that others can reach
};

struct FrontSettings {
  http::ServerOptions server;
  http::AccessRules access;
};

/// The entries of a flag with commas between them; empty ones are left out.
std::vector<std::string> listOf(const std::string& text);

/// Errors (kInvalidInput, kNotFound): not an address, a bad file of keys, or an address beyond this machine without keys.
Result<FrontSettings> frontSettings(const FrontFlags& flags);

class Front {
 public:
  /// `engine` and `state` outlive the front.
  static Result<std::unique_ptr<Front>> open(CompletionEngine& engine, const ClusterState& state, const FrontSettings& settings);

  /// "http://127.0.0.1:52415"
  std::string url() const;
  /// Takes no more requests, and waits for the answers that have been begun.
  void drain(std::chrono::milliseconds patience) { server_->drain(patience); }

 private:
  Front(CompletionEngine& engine, const ClusterState& state, const http::AccessRules& access);

  Service service_;
  std::unique_ptr<http::Server> server_;   // ends first
};

}  // namespace exo::serve
