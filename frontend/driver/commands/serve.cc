// exoc serve: models on the nodes of this machine, asked over HTTP. One is served by its own nodes; several, or none yet, by a desk in front of them.
#include <gflags/gflags.h>
#include <unistd.h>

#include <iostream>

#include "executor/serve/dialects/front.h"
#include "frontend/driver/commands/commands.h"
#include "frontend/driver/commands/local_nodes.h"
#include "frontend/driver/desk/desk.h"
#include "frontend/driver/interrupt.h"
#include "frontend/hub/environment.h"
#include "ir/base/machine.h"

DEFINE_string(http, "127.0.0.1:52415", "address and port to serve at; port 0: any that is free");
DEFINE_string(api_key_file, "", "file with one key per line; who asks must give one of them. Needed at an address beyond this machine");
DEFINE_string(http_origins, "", "origins of web pages that may ask, with commas");
DEFINE_string(http_hosts, "", "names by which this server is asked for, with commas, besides its address and localhost");
DEFINE_bool(http_without_key, false, "let everybody who reaches --http use the model");
DEFINE_double(drain_timeout, 60, "seconds for which answers that have been begun are finished when the server is told to end; a second signal ends it without");
DEFINE_string(models, "", "folders of models that may be asked for, with commas, besides those that exoc pull downloads (without MODEL, or with several)");
DEFINE_double(memory, 0, "GiB for models, of which as many are loaded as fit (without MODEL, or with several); 0: what is free at the start");
DECLARE_int64(max_sequences);

namespace exo {

namespace {

constexpr int64_t kServedSequences = 4;   // where nothing else is said

constexpr std::chrono::seconds kFlushPatience{3};

/// Of the nodes that serve, without the address.
std::vector<std::string> frontFlags() {
  std::vector<std::string> flags;
  for (const auto& [name, value] : {std::pair<const char*, const std::string&>{"api_key_file", FLAGS_api_key_file}, {"http_origins", FLAGS_http_origins}, {"http_hosts", FLAGS_http_hosts}}) {
    if (!value.empty()) flags.push_back(std::string("--") + name + "=" + value);
  }
  if (FLAGS_http_without_key) flags.push_back("--http_without_key");
  flags.push_back("--drain_timeout=" + std::to_string(FLAGS_drain_timeout));
  return flags;
}

/// What serving means where nothing else is said.
Result<CompileOptions> compileOptions() {
  EXO_ASSIGN(CompileOptions options, compileOptionsFromFlags());
  if (gflags::GetCommandLineFlagInfoOrDie("max_sequences").is_default) options.max_sequences = kServedSequences;
  return options;
}

Result<int> serveOne(const std::string& spec) {
  for (const char* flag : {"models", "memory"}) {
    if (!gflags::GetCommandLineFlagInfoOrDie(flag).is_default) return invalid("--", flag, ": ", spec, " alone is served; leave it out to serve what is asked for");
  }
  if (isPlan(spec)) EXO_TRY(refuseCompileFlags(spec));
  EXO_ASSIGN(const CompileOptions options, compileOptions());
  const Interrupt interrupt(2);
  EXO_ASSIGN(PlanSource source, openPlan(spec, options));
  LocalClusterOptions local = localNodesFromFlags();
  local.http = frontFlags();
  local.http.push_back("--http=" + FLAGS_http);
  EXO_ASSIGN(const std::unique_ptr<LocalCluster> nodes, startLocalNodes(source, local, interrupt.flag()));
  source.temporary.reset();   // every node has read it
  std::cout << nodes->url() << std::endl;
  while (!*interrupt.flag()) {
    if (auto cause = nodes->failure()) return std::move(*cause);
  }
  nodes->drain([&] { return interrupt.count() > 1; });
  return 0;
}

/// Folders of --models, and arguments that are paths.
Result<Catalogue> catalogueOf(const std::vector<std::string>& arguments) {
  EXO_ASSIGN(const hub::Environment environment, hub::Environment::read());
  std::vector<std::filesystem::path> folders;
  std::error_code error;
  for (const std::string& folder : serve::listOf(FLAGS_models)) {
    if (!std::filesystem::exists(folder, error)) return makeError(ErrorCode::kNotFound, "--models: there is no ", folder);
    folders.emplace_back(folder);
  }
  for (const std::string& argument : arguments) {
    if (std::filesystem::exists(argument, error)) folders.emplace_back(argument);
  }
  return Catalogue(environment.cache, std::move(folders));
}

/// What the catalogue calls an argument.
std::string nameOf(const std::string& argument) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::canonical(argument, error);
  if (error) return argument;
  return std::filesystem::is_directory(path, error) ? path.filename().string() : path.stem().string();
}

Result<int> serveMany(const std::vector<std::string>& arguments) {
  EXO_ASSIGN(const serve::FrontSettings settings, serve::frontSettings({FLAGS_http, FLAGS_api_key_file, FLAGS_http_origins, FLAGS_http_hosts, FLAGS_http_without_key}));
  if (FLAGS_memory < 0) return invalid("--memory: expected GiB, got ", FLAGS_memory);
  EXO_ASSIGN(Catalogue catalogue, catalogueOf(arguments));
  HostOptions host;
  EXO_ASSIGN(host.compile, compileOptions());
  host.nodes = localNodesFromFlags();
  host.nodes.on_loading = nullptr;
  if (!FLAGS_api_key_file.empty()) host.nodes.http.push_back("--api_key_file=" + FLAGS_api_key_file);   // others on this machine could ask them too
  host.memory_bytes = FLAGS_memory > 0 ? static_cast<int64_t>(FLAGS_memory * (1 << 30)) : static_cast<int64_t>(meminfoBytes("MemAvailable"));
  host.note = [](const std::string& line) { std::cerr << line << std::endl; };
  const Interrupt interrupt(2);
  Desk desk(std::move(catalogue), std::move(host), settings.access);
  EXO_ASSIGN(const std::unique_ptr<serve::http::Server> server, serve::http::Server::start(settings.server, desk));
  std::cout << "http://" << (server->host().find(':') == std::string::npos ? server->host() : "[" + server->host() + "]") << ":" << server->port() << std::endl;
  for (const std::string& argument : arguments) EXO_TRY(desk.load(nameOf(argument)));
  while (!*interrupt.flag()) ::usleep(100'000);
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(static_cast<int64_t>(FLAGS_drain_timeout * 1000));
  desk.startDraining();
  desk.end([&] { return interrupt.count() < 2 && std::chrono::steady_clock::now() < until; });
  server->drain(kFlushPatience);
  return 0;
}

}  // namespace

std::vector<std::string> serveFlags() { return {"http", "api_key_file", "http_origins", "http_hosts", "http_without_key", "drain_timeout", "models", "memory"}; }

Result<int> runServe(const std::vector<std::string>& arguments) {
  EXO_TRY(checkLocalNodes());
  if (!(FLAGS_drain_timeout > 0 && FLAGS_drain_timeout <= 86'400)) return invalid("--drain_timeout: expected seconds above 0 and up to 86400, got ", FLAGS_drain_timeout);
  if (FLAGS_http == "none") return invalid("--http: expected an address to serve at");
  return arguments.size() == 1 ? serveOne(arguments[0]) : serveMany(arguments);
}

}  // namespace exo
