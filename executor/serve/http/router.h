// Which handler a path and a method belong to: one table, made once.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "executor/serve/http/exchange.h"

namespace exo::serve::http {

struct Route {
  std::string method;    // "GET" answers HEAD too
  std::string pattern;   // "/v1/models", or with a rest of any length at its end: "/v1/models/*"
  /// `rest`: what stands for the "*".
  std::function<void(Request request, const std::string& rest, std::shared_ptr<Exchange> exchange)> run;
};

struct RouteMatch {
  const Route* route = nullptr;
  std::string rest;
  std::string allowed;   // without a route: the methods that the path has ("GET, HEAD"); empty: no such path
};

/// Exact patterns go before those with a rest. A slash at the end of a path makes no difference.
RouteMatch findRoute(const std::vector<Route>& routes, const std::string& method, const std::string& path);

}  // namespace exo::serve::http
