#include "executor/serve/dialects/cluster_routes.h"

#include <charconv>
#include <chrono>
#include <cmath>

#include "executor/serve/dialects/generation.h"
#include "executor/serve/http/access.h"

namespace exo::serve {
namespace {

using ExchangePtr = std::shared_ptr<http::Exchange>;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLook{250};       // how often a stream looks for something new; it is published once a second
constexpr std::chrono::seconds kKeepAlive{10};

RequestContext contextOf(const http::Request& request) { return {dialectOf(request.path), newId("req_"), http::corsHeaders(request)}; }

std::string textOf(const StateEvent& event) { return "id: " + event.id + "\ndata: " + event.data + "\n\n"; }

/// One client's way through the events. It begins with what the client lacks; on the server's thread from then on.
class EventStream {
 public:
  EventStream(const CompletionEngine& engine, const ClusterState& state, ExchangePtr exchange, std::string last)
      : engine_(engine), state_(state), exchange_(std::move(exchange)), last_(std::move(last)) {}

  static void begin(const std::shared_ptr<EventStream>& stream, http::Response head) {
    const auto exchange = stream->exchange_;
    const std::string first = stream->next();
    exchange->begin(std::move(head), kLook, [stream] { return stream->next(); });
    exchange->write(first);
  }

 private:
  /// What to send now, maybe nothing.
  std::string next() {
    const auto event = state_.next(last_);
    const EngineState engine = engine_.state();
    if (engine != EngineState::kLoading && engine != EngineState::kServing) exchange_->finish();   // a stop waits for no viewer
    const auto now = Clock::now();
    if (!event && now < sent_ + kKeepAlive) return "";
    sent_ = now;
    if (!event) return ": keep-alive\n\n";
    last_ = event->id;
    return textOf(*event);
  }

  const CompletionEngine& engine_;
  const ClusterState& state_;
  const ExchangePtr exchange_;
  std::string last_;
  Clock::time_point sent_ = Clock::now();
};

void respondEvents(const CompletionEngine& engine, const ClusterState& state, const http::Request& request, ExchangePtr exchange) {
  const std::string* last = request.header("Last-Event-ID");
  http::Response head{200, contextOf(request).headers, ""};
  head.headers.push_back({"Content-Type", kEventStream});
  head.headers.push_back({"Cache-Control", "no-store"});
  head.headers.push_back({"X-Accel-Buffering", "no"});
  if (request.method == "HEAD") return exchange->respond(std::move(head));
  EventStream::begin(std::make_shared<EventStream>(engine, state, std::move(exchange), last ? *last : ""), std::move(head));
}

void respondFresh(http::Exchange& exchange, const http::Request& request, std::string body) {
  RequestContext context = contextOf(request);
  context.headers.push_back({"Cache-Control", "no-store"});
  respondJson(exchange, context, std::move(body));
}

/// "since=1760000000.5", alone or among others; 0 without it.
Outcome<double> sinceOf(std::string_view query) {
  while (!query.empty()) {
    const size_t end = query.find('&');
    const std::string_view item = query.substr(0, end);
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
    if (!item.starts_with("since=")) continue;
    const std::string_view value = item.substr(6);
    double since = 0;
    const auto parsed = std::from_chars(value.data(), value.data() + value.size(), since);
    if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size() || !std::isfinite(since))
      return refuse("since", "expected seconds of the Unix epoch, got \"", std::string(value), "\"");
    return since;
  }
  return 0.0;
}

void respondSeries(const ClusterState& state, const http::Request& request, http::Exchange& exchange) {
  const auto since = sinceOf(request.query);
  if (!since.ok()) return respondError(exchange, contextOf(request), since.error());
  respondFresh(exchange, request, state.series(*since));
}

void cancel(CompletionEngine& engine, const http::Request& request, const std::string& name, http::Exchange& exchange) {
  RequestId id = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), id);
  if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size())
    return respondError(exchange, contextOf(request), refuse("", "expected the number of a request, as /v1/cluster/state lists them, got \"", name, "\""));
  engine.cancel(id);   // one that has ended by now is what was asked for
  exchange.respond({204, contextOf(request).headers, ""});
}

}  // namespace

std::vector<http::Route> clusterRoutes(CompletionEngine& engine, const ClusterState& state) {
  return {
      {"GET", "/v1/cluster/state",
       [&state](const http::Request& request, const std::string&, const ExchangePtr& exchange) { respondFresh(*exchange, request, state.snapshot()); }},
      {"GET", "/v1/cluster/events",
       [&engine, &state](const http::Request& request, const std::string&, const ExchangePtr& exchange) { respondEvents(engine, state, request, exchange); }},
      {"GET", "/v1/cluster/series",
       [&state](const http::Request& request, const std::string&, const ExchangePtr& exchange) { respondSeries(state, request, *exchange); }},
      {"POST", "/v1/cluster/requests/*/cancel",
       [&engine](const http::Request& request, const std::string& id, const ExchangePtr& exchange) { cancel(engine, request, id, *exchange); }},
  };
}

}  // namespace exo::serve
