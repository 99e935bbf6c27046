// exoc serve: a model on two nodes, asked over HTTP as programs do.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/program.h"

namespace exo::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;

const fs::path kModel = fs::path(EXO_TEST_DATA) / "golden" / "llama";

/// One request on a connection of its own; the whole answer, head and body. Empty where there is none within 30 s.
std::string ask(int port, const std::string& method, const std::string& path, const std::string& body = "") {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{30, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    const std::string request = method + " " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
      char buffer[4096];
      for (ssize_t n; (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, static_cast<size_t>(n));
    }
  }
  ::close(fd);
  return answer;
}

json bodyOf(const std::string& answer) {
  const size_t end = answer.find("\r\n\r\n");
  return end == std::string::npos ? json() : json::parse(answer.substr(end + 4), nullptr, false);
}

class Serve : public ::testing::Test {
 protected:
  Serve() : server_(exocWords({"serve", kModel, "--nodes", "2", "--http", "127.0.0.1:0", "--weight_cache_dir", "none"})) {
    EXPECT_TRUE(server_.waitForOutput("http://127.0.0.1:", 60s)) << server_.err();
    EXPECT_TRUE(server_.waitForOutput("\n", 5s));
    const std::string url = server_.out();
    port_ = std::atoi(url.substr(url.rfind(':') + 1).c_str());
  }
  std::string complete(const std::string& prompt) {
    const json answer = bodyOf(ask(port_, "POST", "/v1/completions", R"({"model": "llama", "temperature": 0, "max_tokens": 12, "ignore_eos": true, "prompt": )" + prompt + "}"));
    return answer.is_object() && answer.contains("choices") ? answer["choices"][0]["text"].get<std::string>() : "no answer: " + answer.dump();
  }

  Program server_;
  int port_ = 0;
};

TEST_F(Serve, AnswersAreThoseOfRunAloneAndTogether) {
  std::vector<std::string> expected;
  const std::vector<std::string> prompts = {"1,2,3", "7,8", "30,31,32,33,34,35", "100"};
  for (const std::string& prompt : prompts) {
    std::string text = exoc({"run", kModel, "--tokens", prompt, "--max_tokens", "12", "--ignore_eos"}).out;
    if (!text.empty()) text.pop_back();   // run ends its line
    expected.push_back(text);
    EXPECT_EQ(complete("[" + prompt + "]"), text) << prompt;
  }
  std::vector<std::future<std::string>> together;
  for (const std::string& prompt : prompts) together.push_back(std::async(std::launch::async, [&, prompt] { return complete("[" + prompt + "]"); }));
  for (size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(together[i].get(), expected[i]) << prompts[i];
}

TEST_F(Serve, TellsOfItselfRefusesWhatIsWrongAndEndsWhenInterrupted) {
  EXPECT_EQ(bodyOf(ask(port_, "GET", "/health"))["status"], "ok");
  EXPECT_EQ(bodyOf(ask(port_, "GET", "/v1/models"))["data"][0]["id"], "llama");
  EXPECT_TRUE(ask(port_, "POST", "/v1/completions", "{").starts_with("HTTP/1.1 400"));
  EXPECT_TRUE(ask(port_, "POST", "/v1/chat/completions", R"({"model": "other", "messages": [{"role": "user", "content": "x"}]})").starts_with("HTTP/1.1 404"));
  ::kill(server_.pid(), SIGINT);
  const Outcome outcome = server_.waitFromNow(20s);
  EXPECT_EQ(outcome.exit_code, 0) << describe(outcome);
  EXPECT_TRUE(server_.waitUntilAlone(5s));
  EXPECT_EQ(server_.leftovers(), Words{});
}

}  // namespace
}  // namespace exo::testing
