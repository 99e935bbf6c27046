// exoc run: starts the nodes of a plan on this machine, gives them a prompt, streams the answer.
#include <gflags/gflags.h>
#include <histedit.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "frontend/checkpoint/replacing_file.h"
#include "frontend/checkpoint/safetensors.h"
#include "frontend/driver/commands/commands.h"
#include "frontend/driver/commands/local_nodes.h"
#include "frontend/driver/interrupt.h"
#include "frontend/driver/joined_profile.h"
#include "frontend/driver/local_cluster.h"
#include "frontend/driver/plan_source.h"
#include "frontend/driver/text_session.h"
#include "frontend/template/chat_template.h"

DEFINE_string(prompt, "", "text to go on from (with --chat: the user's message)");
DEFINE_string(tokens, "", "token ids to go on from, instead of text: 1,2,3");
DEFINE_int64(max_tokens, 128, "tokens to generate at most");
DEFINE_bool(ignore_eos, false, "go on behind an end token");
DEFINE_double(temperature, 0, "0: always the best token; above: sample");
DEFINE_double(top_p, 1, "sample from the best candidates whose probabilities sum to this");
DEFINE_int64(top_k, 0, "sample from this many best candidates; 0: all that are kept");
DEFINE_uint64(seed, 0, "of the sampling");
DEFINE_string(logits, "", "write the logits of the prompt to this safetensors file");
DEFINE_string(tokens_out, "", "write {\"tokens\": [...]} of the generated ids to this file");
DEFINE_bool(chat, false, "use the model's chat template; a conversation on a terminal");
DEFINE_string(profile, "", "write what every thread of every node did to this file, for Perfetto or chrome://tracing; prints a summary");
DEFINE_string(connect, "", "host:port of a plan's first node that runs already: talk to it instead of starting nodes here");
DECLARE_string(secret_file);

namespace exo {

namespace {

using Clock = std::chrono::steady_clock;
using Tokenizer = tokenizer::Tokenizer;

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Result<std::vector<int32_t>> tokensFromFlag() {
  std::vector<int32_t> ids;
  std::istringstream in(FLAGS_tokens);
  std::string item;
  while (std::getline(in, item, ',')) {
    size_t used = 0;
    long value = -1;
    const bool digits = !item.empty() && item.size() < 10 && item.find_first_not_of("0123456789 ") == std::string::npos && item.find_first_of("0123456789") != std::string::npos;
    if (digits) value = std::stol(item, &used);
    if (value < 0 || item.find_first_not_of(' ', used) != std::string::npos) return invalid("--tokens: expected ids separated by commas, got \"", item, '"');
    ids.push_back(static_cast<int32_t>(value));
  }
  if (ids.empty()) return invalid("--tokens: expected at least one id");
  return ids;
}

Status checkSampling() {
  if (!std::isfinite(FLAGS_temperature) || FLAGS_temperature < 0) return invalid("--temperature: expected 0 or more, got ", FLAGS_temperature);
  if (!(FLAGS_top_p > 0 && FLAGS_top_p <= 1)) return invalid("--top_p: expected more than 0 and at most 1, got ", FLAGS_top_p);
  if (FLAGS_top_k < 0) return invalid("--top_k: expected 0 or more, got ", FLAGS_top_k);
  if (FLAGS_max_tokens < 0) return invalid("--max_tokens: expected 0 or more, got ", FLAGS_max_tokens);
  return {};
}

/// Flags that exclude each other, or would be ignored.
Status checkCombinations() {
  const auto given = [](const char* flag) { return !gflags::GetCommandLineFlagInfoOrDie(flag).is_default; };
  if (given("tokens") && (given("prompt") || FLAGS_chat)) return invalid("--tokens: ids are the whole prompt; leave out --prompt and --chat");
  if (!given("connect") && given("secret_file")) return invalid("--secret_file: only needed with --connect; nodes started here speak over loopback");
  for (const char* flag : {"threads", "isa", "transport", "tune", "timeout", "profile", "weight_cache_dir"}) {
    if (given("connect") && given(flag)) return invalid("--", flag, ": the nodes of --connect run already");
  }
  return {};
}

cluster::GenerateRequest requestFor(std::vector<int32_t> prompt) {
  cluster::GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = FLAGS_max_tokens;
  request.ignore_eos = FLAGS_ignore_eos;
  request.temperature = static_cast<float>(FLAGS_temperature);
  request.top_p = static_cast<float>(FLAGS_top_p);
  request.top_k = FLAGS_top_k;
  request.seed = FLAGS_seed;
  request.want_logits = !FLAGS_logits.empty();
  return request;
}

void printStats(const cluster::GenerateStats& stats, double load_seconds) {
  const auto rate = [](int64_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0; };
  std::cerr << std::fixed << std::setprecision(1) << "prompt " << stats.prompt_tokens << " tokens, " << rate(stats.prompt_tokens, stats.prefill_seconds) << " tok/s; generated " << stats.generated_tokens
            << " tokens, " << rate(std::max<int64_t>(0, stats.generated_tokens - 1), stats.decode_seconds) << " tok/s; first token after " << std::setprecision(3) << stats.prefill_seconds << " s; loaded in " << load_seconds
            << " s; ended by " << cluster::name(stats.reason) << "\n";
}

/// Over what the nodes are linked, and why; once where that is the same for all.
/// What one run holds: the cluster, its client, and the text side of the model.
struct Session {
  PlanSource source;
  std::optional<Tokenizer> tokenizer;
  std::optional<TemporaryDirectory> profiles;
  std::unique_ptr<LocalCluster> nodes;
  std::unique_ptr<cluster::ControlClient> client;
  double load_seconds = 0;
};

/// Nodes of our own, on this machine.
Status startNodes(Session& session, const std::atomic<bool>* cancel) {
  LocalClusterOptions local = localNodesFromFlags();
  if (!FLAGS_profile.empty()) {
    EXO_ASSIGN(TemporaryDirectory directory, TemporaryDirectory::create());
    session.profiles.emplace(std::move(directory));
    local.profiles = session.profiles->path();
  }
  EXO_ASSIGN(session.nodes, startLocalNodes(session.source, local, cancel));
  session.source.temporary.reset();  // every node has read it: nothing is left behind, however we end
  EXO_ASSIGN(const cluster::Address address, cluster::parseAddress(session.nodes->address()));
  EXO_ASSIGN(session.client, cluster::ControlClient::connect(address, cluster::Security::loopbackOnly()));
  return {};
}

/// Nodes that somebody started; they must run this very plan.
Status connectNodes(Session& session) {
  cluster::Security security = cluster::Security::loopbackOnly();
  if (!FLAGS_secret_file.empty()) {
    EXO_ASSIGN(security, cluster::Security::fromSecretFile(FLAGS_secret_file));
  }
  EXO_ASSIGN(const cluster::Address address, cluster::parseAddress(FLAGS_connect));
  EXO_ASSIGN(session.client, cluster::ControlClient::connect(address, security));
  EXO_ASSIGN(const cluster::NodeStatus status, session.client->status());
  if (status.info.plan_hash == session.source.plan.content_hash()) return {};
  return makeError(ErrorCode::kMismatch, "--connect: the node at ", FLAGS_connect, " runs another plan (of ", status.info.model, ") than ", session.source.directory.string());
}

/// Everything but the nodes, so that bad input is refused before weights are loaded.
Result<Session> openSession(const std::string& spec) {
  if (isPlan(spec)) EXO_TRY(refuseCompileFlags(spec));
  else if (!FLAGS_connect.empty()) return invalid("--connect: expected the plan that the nodes run, got the model ", spec);
  EXO_ASSIGN(const CompileOptions options, compileOptionsFromFlags());
  EXO_ASSIGN(PlanSource source, openPlan(spec, options));
  Session session{std::move(source), std::nullopt, std::nullopt, nullptr, nullptr, 0};
  const std::filesystem::path directory = session.source.plan.model_directory();
  if (!directory.empty() && Tokenizer::exists(directory)) {
    EXO_ASSIGN(session.tokenizer, Tokenizer::load(directory));
  }
  if (!session.tokenizer && (FLAGS_chat || FLAGS_tokens.empty())) return invalid(session.source.plan.model(), " has no tokenizer: give the prompt as ids, --tokens 1,2,3");
  return session;
}

/// Runs one request, text to stdout as it comes. Where a node failed, its own words are the error.
Result<TextResult> answer(Session& session, std::vector<int32_t> prompt, LogitsTable* logits, const std::atomic<bool>* cancel) {
  TextRequest request;
  request.generate = requestFor(std::move(prompt));
  request.logits = logits;
  request.on_text = [](const std::string& text, int32_t) { std::cout << text << std::flush; };
  auto result = generateText(*session.client, session.tokenizer ? &*session.tokenizer : nullptr, request, cancel);
  if (result.ok()) return result;
  if (result.error().code() == ErrorCode::kPeerLost && session.nodes) {
    if (auto cause = session.nodes->failure()) return std::move(*cause);
  }
  return result;
}

Result<QuotedText> renderChat(const Session& session, const nlohmann::ordered_json& messages) {
  EXO_ASSIGN(const std::string source, loadChatTemplate(session.source.plan.model_directory()));
  EXO_ASSIGN(const ChatTemplate chat, ChatTemplate::parse(source));
  nlohmann::ordered_json variables = {{"messages", messages}, {"tools", nullptr}, {"add_generation_prompt", true}, {"bos_token", ""}, {"eos_token", ""}};
  const auto spelling = [&](std::optional<int32_t> id) { return id ? session.tokenizer->idToToken(*id).value_or("") : ""; };
  variables["bos_token"] = spelling(session.tokenizer->bosId());
  const auto eos = session.tokenizer->eosIds();
  if (!eos.empty()) variables["eos_token"] = spelling(eos[0]);
  return chat.renderPrompt(variables);
}

Result<std::vector<int32_t>> chatPrompt(const Session& session, const nlohmann::ordered_json& messages) {
  EXO_ASSIGN(const QuotedText text, renderChat(session, messages));
  return session.tokenizer->encode(text, tokenizer::AddSpecial::kNo);  // the template writes bos itself
}

const char* userPrompt(EditLine*) { return "> "; }

/// A conversation on the terminal; an empty line or end of input ends it.
Result<int> converse(Session& session, const std::atomic<bool>* cancel) {
  std::unique_ptr<EditLine, void (*)(EditLine*)> editor(el_init("exoc", stdin, stdout, stderr), el_end);
  if (!editor) return makeError(ErrorCode::kIo, "cannot read from this terminal");
  el_set(editor.get(), EL_PROMPT, userPrompt);
  el_set(editor.get(), EL_EDITOR, "emacs");
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  int length = 0;
  while (!*cancel) {
    const char* line = el_gets(editor.get(), &length);
    if (!line || length <= 1) return 0;
    messages.push_back({{"role", "user"}, {"content", std::string(line, static_cast<size_t>(length) - 1)}});
    EXO_ASSIGN(auto prompt, chatPrompt(session, messages));
    const auto outcome = answer(session, std::move(prompt), nullptr, cancel);
    std::cout << "\n";
    if (!outcome.ok() && outcome.error().scope() == ErrorScope::kRequest && outcome.error().code() == ErrorCode::kInvalidInput) {
      std::cerr << "exoc: " << outcome.error() << "\n";  // the conversation has outgrown the context; the nodes are well
      messages.erase(messages.size() - 1);
      continue;
    }
    if (!outcome.ok()) return outcome.error();
    const TextResult& result = *outcome;
    printStats(result.stats, session.load_seconds);
    messages.push_back({{"role", "assistant"}, {"content", result.text}});
  }
  return 0;
}

Result<std::vector<int32_t>> promptFor(const Session& session) {
  if (!FLAGS_tokens.empty()) return tokensFromFlag();
  if (FLAGS_chat) return chatPrompt(session, nlohmann::ordered_json::array({{{"role", "user"}, {"content", FLAGS_prompt}}}));
  EXO_ASSIGN(auto ids, session.tokenizer->encode(FLAGS_prompt, tokenizer::Specials::kAsText, tokenizer::AddSpecial::kYes));
  if (ids.empty() && session.source.plan.has_bos_id()) ids.push_back(session.source.plan.bos_id());
  if (ids.empty()) return invalid("--prompt: expected some text");
  return ids;
}

Status writeTokens(const std::vector<int32_t>& tokens) {
  return replaceFile(FLAGS_tokens_out, nlohmann::json{{"tokens", tokens}}.dump() + "\n");
}

/// Ends the nodes, which then write what they did.
Status writeProfile(Session& session) {
  if (FLAGS_profile.empty()) return {};
  session.client.reset();
  session.nodes.reset();
  EXO_ASSIGN(const std::string tables, joinProfiles(session.profiles->path(), session.source.plan.programs_size(), FLAGS_profile));
  std::cerr << tables;
  return {};
}

}  // namespace

Result<int> runRun(const std::vector<std::string>& arguments) {
  EXO_ASSIGN(const std::string spec, onlyArgument(arguments, "a model or a plan"));
  EXO_TRY(checkSampling());
  EXO_TRY(checkLocalNodes());
  EXO_TRY(checkCombinations());
  const bool terminal = ::isatty(STDIN_FILENO) && ::isatty(STDOUT_FILENO);
  const bool conversation = FLAGS_chat && FLAGS_prompt.empty() && FLAGS_tokens.empty();
  if (conversation && !terminal) return invalid("--chat without --prompt needs a terminal");
  if (conversation && !(FLAGS_logits + FLAGS_tokens_out).empty()) return invalid("--logits and --tokens_out: not in a conversation; give the message with --prompt");
  const Interrupt interrupt;
  EXO_ASSIGN(Session session, openSession(spec));
  std::vector<int32_t> prompt;
  if (conversation) {
    EXO_TRY(renderChat(session, nlohmann::ordered_json::array({{{"role", "user"}, {"content", "hello"}}})));
  } else {
    EXO_ASSIGN(prompt, promptFor(session));
    EXO_TRY(checkTokens(prompt, session.source.plan));
  }
  const auto start = Clock::now();
  EXO_TRY(FLAGS_connect.empty() ? startNodes(session, interrupt.flag()) : connectNodes(session));
  session.load_seconds = secondsSince(start);
  if (conversation) {
    EXO_ASSIGN(const int code, converse(session, interrupt.flag()));
    EXO_TRY(writeProfile(session));
    return code;
  }
  LogitsTable logits;
  EXO_ASSIGN(const TextResult result, answer(session, std::move(prompt), FLAGS_logits.empty() ? nullptr : &logits, interrupt.flag()));
  if (session.tokenizer) std::cout << std::endl;
  printStats(result.stats, session.load_seconds);
  if (!FLAGS_logits.empty()) {
    const TensorToWrite tensor = TensorToWrite::f32("logits", {logits.positions, logits.columns}, logits.values);
    EXO_TRY(writeSafetensors(FLAGS_logits, std::span(&tensor, 1)));
  }
  if (!FLAGS_tokens_out.empty()) EXO_TRY(writeTokens(result.tokens));
  EXO_TRY(writeProfile(session));
  return *interrupt.flag() ? 1 : 0;
}

}  // namespace exo
