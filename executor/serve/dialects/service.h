// Everything that is served over HTTP, by path: one table. Checks who asks, and answers through the dialects.
#pragma once

#include <atomic>

#include "executor/serve/completion.h"
#include "executor/serve/dialects/api_error.h"
#include "executor/serve/dialects/generation.h"
#include "executor/serve/http/access.h"
#include "executor/serve/http/router.h"
#include "executor/serve/http/server.h"

namespace exo::serve {

/// Of every answer to the request: its dialect, an id, CORS.
RequestContext contextOf(const http::Request& request);
/// Who may not ask: pages of others, requests without a key for a path that asks for one. Answers preflights of pages that may.
std::optional<http::Response> refuseAccess(const http::AccessRules& rules, const http::Request& head, http::Key key);

class Service final : public http::Handler {
 public:
  /// `engine` outlives the service.
  Service(CompletionEngine& engine, http::AccessRules access);

  /// For /metrics: the server that this serves, once it runs.
  void setServer(const http::Server* server) { server_ = server; }
  /// More paths; before the server starts.
  void mount(std::vector<http::Route> routes);

  std::optional<http::Response> admit(const http::Request& head) override;
  void handle(http::Request request, std::shared_ptr<http::Exchange> exchange) override;
  http::Response refusal(const http::Request& head, int status, const std::string& message) override;

  const std::vector<http::Route>& routes() const { return routes_; }

 private:
  CompletionEngine& engine_;
  const http::AccessRules access_;
  const int64_t started_;
  std::atomic<const http::Server*> server_{nullptr};
  std::vector<http::Route> routes_;
};

}  // namespace exo::serve
