// exoc serve: a model on the nodes of this machine, asked over HTTP.
#include <gflags/gflags.h>

#include <iostream>

#include "frontend/driver/commands/commands.h"
#include "frontend/driver/commands/local_nodes.h"
#include "frontend/driver/interrupt.h"

DEFINE_string(http, "127.0.0.1:52415", "address and port to serve at; port 0: any that is free");
DEFINE_string(api_key_file, "", "file with one key per line; who asks must give one of them. Needed at an address beyond this machine");
DEFINE_string(http_origins, "", "origins of web pages that may ask, with commas");
DEFINE_string(http_hosts, "", "names by which this server is asked for, with commas, besides its address and localhost");
DEFINE_bool(http_without_key, false, "let everybody who reaches --http use the model");
DEFINE_double(drain_timeout, 60, "seconds for which answers that have been begun are finished when the server is told to end; a second signal ends it without");
DECLARE_int64(max_sequences);

namespace exo {

namespace {

constexpr int64_t kServedSequences = 4;   // where nothing else is said

std::vector<std::string> frontFlags() {
  std::vector<std::string> flags = {"--http=" + FLAGS_http};
  for (const auto& [name, value] : {std::pair<const char*, const std::string&>{"api_key_file", FLAGS_api_key_file}, {"http_origins", FLAGS_http_origins}, {"http_hosts", FLAGS_http_hosts}}) {
    if (!value.empty()) flags.push_back(std::string("--") + name + "=" + value);
  }
  if (FLAGS_http_without_key) flags.push_back("--http_without_key");
  flags.push_back("--drain_timeout=" + std::to_string(FLAGS_drain_timeout));
  return flags;
}

}  // namespace

std::vector<std::string> serveFlags() { return {"http", "api_key_file", "http_origins", "http_hosts", "http_without_key", "drain_timeout"}; }

Result<int> runServe(const std::vector<std::string>& arguments) {
  EXO_ASSIGN(const std::string spec, onlyArgument(arguments, "a model or a plan"));
  EXO_TRY(checkLocalNodes());
  if (!(FLAGS_drain_timeout > 0 && FLAGS_drain_timeout <= 86'400)) return invalid("--drain_timeout: expected seconds above 0 and up to 86400, got ", FLAGS_drain_timeout);
  if (FLAGS_http == "none") return invalid("--http: expected an address to serve at");
  if (isPlan(spec)) EXO_TRY(refuseCompileFlags(spec));
  EXO_ASSIGN(CompileOptions options, compileOptionsFromFlags());
  if (gflags::GetCommandLineFlagInfoOrDie("max_sequences").is_default) options.max_sequences = kServedSequences;
  const Interrupt interrupt(2);
  EXO_ASSIGN(PlanSource source, openPlan(spec, options));
  LocalClusterOptions local = localNodesFromFlags();
  local.http = frontFlags();
  EXO_ASSIGN(const std::unique_ptr<LocalCluster> nodes, startLocalNodes(source, local, interrupt.flag()));
  source.temporary.reset();   // every node has read it
  std::cout << nodes->url() << std::endl;
  while (!*interrupt.flag()) {
    if (auto cause = nodes->failure()) return std::move(*cause);
  }
  nodes->drain([&] { return interrupt.count() > 1; });
  return 0;
}

}  // namespace exo
