// A server in front of models that come and go: finds the model that a request names, has it loaded, and relays. Lists of models, loading
// and unloading in Ollama's protocol, and health are its own.
#pragma once

#include <atomic>

#include "executor/serve/dialects/fields.h"
#include "executor/serve/dialects/generation.h"
#include "executor/serve/http/access.h"
#include "executor/serve/http/router.h"
#include "executor/serve/http/server.h"
#include "frontend/driver/desk/catalogue.h"
#include "frontend/driver/desk/model_host.h"
#include "frontend/driver/desk/relay.h"

namespace exo {

class Desk final : public serve::http::Handler {
 public:
  Desk(Catalogue catalogue, HostOptions host, serve::http::AccessRules access);
  ~Desk() override;

  std::optional<serve::http::Response> admit(const serve::http::Request& head) override;
  void handle(serve::http::Request request, std::shared_ptr<serve::http::Exchange> exchange) override;
  serve::http::Response refusal(const serve::http::Request& head, int status, const std::string& message) override;

  /// Of the command line: loaded before anybody asks. Waits.
  Status load(const std::string& name);
  /// Refuses what comes from now on, with 503.
  void startDraining() { draining_ = true; }
  /// Waits for answers that run, as long as `wait` says; then no model is loaded any more.
  void end(const std::function<bool()>& wait) { host_.end(wait); }

 private:
  using Json = serve::Json;
  using ExchangePtr = std::shared_ptr<serve::http::Exchange>;

  bool answerHere(const serve::http::Request& request, const ExchangePtr& exchange);
  void answerModelRequest(serve::http::Request request, ExchangePtr exchange);
  void loadOrUnload(const CatalogueEntry& entry, const Json& body, serve::RequestContext context, ExchangePtr exchange);
  void relayTo(const CatalogueEntry& entry, serve::http::Request request, bool unload_after, ExchangePtr exchange);
  void relayToAny(serve::http::Request request, ExchangePtr exchange);
  void relay(ModelHost::Lease lease, const std::string& name, serve::http::Request request, bool unload_after, ExchangePtr exchange);
  serve::ApiError unknownModel(const std::string& name) const;
  Json tags() const;
  Json running() const;
  Json models() const;

  const Catalogue catalogue_;
  const serve::http::AccessRules access_;
  const std::vector<serve::http::Route> pages_;   // the dashboard's files
  std::atomic<bool> draining_ = false;
  ModelHost host_;
  Relay relay_;      // ends first: it holds leases
};

}  // namespace exo
