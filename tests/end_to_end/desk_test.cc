// exoc serve without a model: models on disk are loaded when a request names them, as memory allows; and the commands that talk to a
// running server.
#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "tests/end_to_end/program.h"
#include "tests/executor/serve/http/client.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;
using serve::testing::Client;
using serve::testing::get;
using serve::testing::post;

const fs::path kGolden = fs::path(EXO_TEST_DATA) / "golden";
constexpr const char* kTemplate = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class DeskTest : public ::testing::Test {
 protected:
  DeskTest() {
    for (const char* name : {"llama", "qwen3"}) {
      copyFolder(kGolden / name, folder_ / name);
      writeFile(folder_ / name / "chat_template.jinja", kTemplate);
    }
  }
  void start(const std::string& memory_gib, const Words& more = {}) {
    Words words = exocWords({"serve", "--models", folder_.path(), "--memory", memory_gib, "--http", "127.0.0.1:0", "--max_context", "128", "--drain_timeout", "20"});
    words.insert(words.end(), more.begin(), more.end());
    words.insert(words.begin(), {"/usr/bin/env", "HF_HUB_CACHE=" + (folder_ / "none").string()});
    server_.emplace(words);
    ASSERT_TRUE(server_->waitForOutput("http://127.0.0.1:", 60s) && server_->waitForOutput("\n", 5s)) << server_->err();
    url_ = server_->out().substr(0, server_->out().find('\n'));
    port_ = static_cast<uint16_t>(std::atoi(url_.substr(url_.rfind(':') + 1).c_str()));
  }
  /// The whole answer; a load may be in between.
  Client::Response ask(std::string request) {
    Client client(port_);
    request.replace(request.find("\r\n\r\n"), 4, "\r\nConnection: close\r\n\r\n");
    client.send(request);
    const std::string all = client.readToEnd(60s);
    const size_t end = all.find("\r\n\r\n");
    if (end == std::string::npos) return {};
    return {std::atoi(all.c_str() + 9), all.substr(0, end + 4), all.substr(end + 4)};
  }
  json bodyOf(const std::string& request) { return json::parse(ask(request).body, nullptr, false); }
  static std::string completion(const std::string& model, int max_tokens = 8) {
    return post("/v1/completions", R"({"model": ")" + model + R"(", "temperature": 0, "ignore_eos": true, "prompt": [1, 2, 3], "max_tokens": )" + std::to_string(max_tokens) + "}");
  }
  std::vector<std::string> loaded() {
    std::vector<std::string> names;
    const json running = bodyOf(get("/api/ps"));
    for (const json& model : running["models"]) names.push_back(model["name"]);
    return names;
  }
  Outcome command(Words words) {
    words.insert(words.begin() + 1, {"--server", url_});
    return exoc(words);
  }

  Folder folder_;
  std::optional<Program> server_;
  std::string url_;
  uint16_t port_ = 0;
};

TEST_F(DeskTest, ModelsAreLoadedWhenTheyAreAskedFor) {
  start("4");
  const json tags = bodyOf(get("/api/tags"));
  ASSERT_EQ(tags["models"].size(), 2u) << tags;
  EXPECT_EQ(tags["models"][0]["name"], "llama");
  EXPECT_GT(tags["models"][0]["size"], 1000);
  EXPECT_EQ(tags["models"][0]["digest"].get<std::string>().size(), 64u);
  EXPECT_EQ(tags["models"][0]["details"]["family"], "llama");
  EXPECT_EQ(bodyOf(get("/v1/models"))["data"][1]["id"], "qwen3");
  EXPECT_EQ(loaded(), Words{});
  for (const std::string name : {"llama", "qwen3", "llama"}) {
    std::string expected = exoc({"run", kGolden / name, "--max_context", "128", "--tokens", "1,2,3", "--max_tokens", "8", "--ignore_eos"}).out;
    if (!expected.empty()) expected.pop_back();   // run ends its line
    const auto answer = ask(completion(name));
    EXPECT_EQ(answer.status, 200) << answer.body << server_->err();
    EXPECT_EQ(json::parse(answer.body)["choices"][0]["text"], expected);
    EXPECT_EQ(json::parse(answer.body)["model"], name);
  }
  EXPECT_EQ(loaded(), (Words{"llama", "qwen3"}));
  const auto unknown = ask(completion("gpt-5"));
  EXPECT_EQ(unknown.status, 404);
  EXPECT_TRUE(contains(unknown.body, "llama, qwen3")) << unknown.body;
  EXPECT_EQ(ask(get("/health")).status, 200);
  EXPECT_TRUE(contains(ask(get("/metrics")).body, "exo_engine_state")) << "of the model used last";
  EXPECT_EQ(ask(post("/v1/completions", "{")).status, 400);

  EXPECT_EQ(bodyOf(post("/api/generate", R"({"model": "llama", "keep_alive": 0})"))["done_reason"], "unload");
  EXPECT_EQ(loaded(), Words{"qwen3"});
  EXPECT_EQ(ask(post("/api/generate", R"({"model": "llama", "keep_alive": 0})")).status, 404);
  ::kill(server_->pid(), SIGTERM);
  const Outcome outcome = server_->waitFromNow(20s);
  EXPECT_EQ(outcome.exit_code, 0) << describe(outcome);
  EXPECT_TRUE(server_->waitUntilAlone(5s));
  EXPECT_EQ(server_->leftovers(), Words{});
}

TEST_F(DeskTest, WhatDoesNotFitIsRefusedAndWhatFitsAloneMakesRoom) {
  start("0.0005");
  const auto refused = ask(completion("llama"));
  EXPECT_EQ(refused.status, 400) << refused.body;
  const size_t bytes = refused.body.find(" bytes)");
  ASSERT_NE(bytes, std::string::npos) << refused.body;
  const size_t begin = refused.body.rfind('(', bytes) + 1;
  const double needed = std::stod(refused.body.substr(begin, bytes - begin));
  EXPECT_TRUE(contains(refused.body, "(536870 bytes)")) << "what is there: " << refused.body;
  server_.reset();

  copyFolder(folder_ / "llama", folder_ / "other");
  start(std::to_string(1.5 * needed / (1 << 30)));
  for (const std::string name : {"llama", "other", "llama"}) {
    EXPECT_EQ(ask(completion(name)).status, 200) << server_->err();
    EXPECT_EQ(loaded(), Words{name});
  }
}

TEST_F(DeskTest, AClientThatGoesIsHeardOf) {
  start("4");
  Client client(port_);
  ASSERT_TRUE(client.send(post("/v1/completions", R"({"model": "llama", "ignore_eos": true, "stream": true, "prompt": [1, 2], "max_tokens": 100, "n": 100})")));
  EXPECT_TRUE(contains(client.readUntil("\"choices\"", 60s), "200 OK"));
  client.close();
  std::string metrics;
  for (int i = 0; i < 200 && !contains(metrics, "\nexo_requests_cancelled_total 1"); ++i) {
    std::this_thread::sleep_for(50ms);
    metrics = ask(get("/metrics")).body;
    const size_t line = metrics.find("\nexo_requests_cancelled_total ");
    if (line != std::string::npos && std::atoi(metrics.c_str() + line + 30) > 0) return;
  }
  FAIL() << metrics.substr(0, 2000);
}

TEST_F(DeskTest, Commands) {
  start("4");
  const Outcome models = command({"ls"});
  EXPECT_EQ(models.exit_code, 0) << describe(models);
  EXPECT_TRUE(contains(models.out, "NAME") && contains(models.out, "qwen3")) << models.out;
  EXPECT_EQ(json::parse(command({"ls", "--json"}).out)["models"].size(), 2u);
  EXPECT_EQ(command({"load", "qwen3"}).out, "qwen3 is loaded\n");
  const Outcome running = command({"ps"});
  EXPECT_TRUE(contains(running.out, "qwen3") && contains(running.out, "MB") && !contains(running.out, "llama")) << running.out;
  const Outcome unknown = command({"load", "gpt-5"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_TRUE(contains(unknown.err, "not found")) << unknown.err;

  const Outcome answer = command({"chat", "llama", "--max_tokens", "6", "--temperature", "0", "--verbose", "Hello"});
  EXPECT_EQ(answer.exit_code, 0) << describe(answer);
  EXPECT_GT(answer.out.size(), 1u);
  EXPECT_TRUE(contains(answer.err, "eval count:")) << answer.err;
  const Outcome piped = Program({"/bin/sh", "-c", "printf 'Hel' | \"$0\" chat --server \"$1\" llama --max_tokens 6 --temperature 0", exocWords({})[0], url_}).wait(30s);
  EXPECT_EQ(piped.exit_code, 0) << describe(piped);
  EXPECT_FALSE(contains(piped.out, ">")) << "no prompts in a pipe: " << piped.out;
  EXPECT_EQ(command({"chat", "llama", "--think", "maybe", "x"}).exit_code, 2);

  EXPECT_EQ(command({"unload", "llama"}).exit_code, 0);
  EXPECT_EQ(command({"unload", "llama"}).exit_code, 2);
  const Outcome nobody = exoc({"ps", "--server", "http://127.0.0.1:1"});
  EXPECT_EQ(nobody.exit_code, 1);
  EXPECT_TRUE(contains(nobody.err, "no server answers")) << nobody.err;
}

/// A program on a terminal of its own.
class Terminal {
 public:
  explicit Terminal(const Words& words) {
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    pid_ = ::forkpty(&master_, nullptr, nullptr, nullptr);
    if (pid_ == 0) {
      ::setenv("TERM", "dumb", 1);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~Terminal() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(master_);
  }
  void type(const std::string& text) { EXPECT_EQ(::write(master_, text.data(), text.size()), static_cast<ssize_t>(text.size())); }
  /// What was shown since the last call, until `text` is in it.
  std::string readUntil(const std::string& text, std::chrono::milliseconds patience) {
    std::string shown;
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!contains(shown, text) && std::chrono::steady_clock::now() < until) {
      pollfd polled{master_, POLLIN, 0};
      char buffer[4096];
      if (::poll(&polled, 1, 100) <= 0) continue;
      const ssize_t count = ::read(master_, buffer, sizeof buffer);
      if (count <= 0) break;
      shown.append(buffer, static_cast<size_t>(count));
    }
    return shown;
  }
  int exitCode() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  int master_ = -1;
  pid_t pid_ = -1;
};

TEST_F(DeskTest, AConversationOnATerminal) {
  start("4");
  Terminal terminal(exocWords({"chat", "--server", url_, "llama", "--temperature", "0", "--max_tokens", "5"}));
  EXPECT_TRUE(contains(terminal.readUntil("> ", 20s), "/help"));
  terminal.type("/set system Be brief.\n");
  (void)terminal.readUntil("> ", 5s);
  terminal.type("Hello\n");
  (void)terminal.readUntil("\n> ", 30s);
  terminal.type("/show\n");
  const std::string shown = terminal.readUntil("messages    2", 5s);
  EXPECT_TRUE(contains(shown, "Be brief.") && contains(shown, "messages    2")) << shown;
  terminal.type("/nonsense\n");
  EXPECT_TRUE(contains(terminal.readUntil("lists them", 5s), "unknown command /nonsense"));
  terminal.type("\x03");
  EXPECT_TRUE(contains(terminal.readUntil("leaves", 5s), "/bye")) << "Ctrl-C at the prompt does not end it";
  terminal.type("/clear\n");
  EXPECT_TRUE(contains(terminal.readUntil("cleared", 5s), "cleared"));
  terminal.type("/bye\n");
  EXPECT_EQ(terminal.exitCode(), 0);
}

}  // namespace
}  // namespace exo::testing
