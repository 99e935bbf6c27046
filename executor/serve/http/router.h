// Which handler a path and a method belong to: one table, made once.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "executor/serve/http/exchange.h"

namespace exo::serve::http {

enum class Key { kYes, kNo };   // whether a path asks for a key, where the server has keys

struct Route {
  std::string method;    // "GET" answers HEAD too
  std::string pattern;   // "/v1/models", or with one "*" for any text but none: "/v1/models/*", "/requests/*/cancel"
  /// `rest`: what stands for the "*".
  std::function<void(Request request, const std::string& rest, std::shared_ptr<Exchange> exchange)> run;
  Key key = Key::kYes;
};

struct RouteMatch {
  const Route* route = nullptr;
  std::string rest;
  std::string allowed;   // without a route: the methods that the path has ("GET, HEAD"); empty: no such path
};

/// Exact patterns go before those with a "*". A slash at the end of a path makes no difference.
RouteMatch findRoute(const std::vector<Route>& routes, const std::string& method, const std::string& path);

}  // namespace exo::serve::http
