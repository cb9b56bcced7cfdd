// A byte pipe between a client and a server on unix sockets, which a test cuts or stalls at any
// byte.
// Thread-safety: every method may be called from any thread.
#pragma once

#include <glog/logging.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace cairn::testing {

class FlakyProxy {
 public:
  enum Direction { kToServer = 0, kToClient = 1 };

  // Paths of unix sockets; `listen` is made.
  FlakyProxy(std::string listen, std::string server)
      : listen_path_(std::move(listen)), server_path_(std::move(server)) {
    CHECK_EQ(::pipe(wake_), 0);
    listener_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ::unlink(listen_path_.c_str());
    const sockaddr_un name = Name(listen_path_);
    CHECK_EQ(::bind(listener_, reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
    CHECK_EQ(::listen(listener_, 16), 0);
    thread_ = std::thread([this] { Loop(); });
  }
  ~FlakyProxy() {
    stop_ = true;
    Wake();
    thread_.join();
    for (const Pair& pair : pairs_) Close(pair);
    ::close(listener_);
    ::close(wake_[0]);
    ::close(wake_[1]);
    ::unlink(listen_path_.c_str());
  }

  // After `bytes` more in that direction, all connections are closed, once.
  void CutAfter(Direction direction, std::int64_t bytes) {
    budget_[direction] = bytes;
    Wake();
  }
  // While stalled, connections stay open and nothing is read from them.
  void Stall(bool stall) {
    stalled_ = stall;
    Wake();
  }
  int cuts() const { return cuts_; }

 private:
  struct Pair {
    int client, server;
  };
  static constexpr std::int64_t kNoLimit = -1;

  static sockaddr_un Name(const std::string& path) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    CHECK_LT(path.size(), sizeof name.sun_path);
    path.copy(name.sun_path, sizeof name.sun_path - 1);
    return name;
  }
  static void Close(const Pair& pair) {
    ::close(pair.client);
    ::close(pair.server);
  }
  void Wake() { CHECK_EQ(::write(wake_[1], "x", 1), 1); }

  void Accept() {
    const int client = ::accept(listener_, nullptr, nullptr);
    if (client < 0) return;
    const int server = ::socket(AF_UNIX, SOCK_STREAM, 0);
    const sockaddr_un name = Name(server_path_);
    if (::connect(server, reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
      Close({client, server});
      return;
    }
    pairs_.push_back({client, server});
  }

  // Moves what is there; false when the connections are to be closed.
  bool Move(int from, int to, Direction direction) {
    char buffer[16384];
    const std::int64_t budget = budget_[direction];
    std::size_t most = sizeof buffer;
    if (budget != kNoLimit) most = std::min<std::size_t>(most, static_cast<std::size_t>(budget));
    const ssize_t got = most == 0 ? 0 : ::recv(from, buffer, most, 0);
    for (ssize_t sent = 0; sent < got;) {
      const ssize_t n =
          ::send(to, buffer + sent, static_cast<std::size_t>(got - sent), MSG_NOSIGNAL);
      if (n <= 0) return false;
      sent += n;
    }
    if (budget != kNoLimit) {
      if (got < budget) {
        if (got > 0) budget_[direction] = budget - got;
      } else {
        budget_[direction] = kNoLimit;
        ++cuts_;
        return false;
      }
    }
    return got > 0;
  }

  void Loop() {
    while (!stop_) {
      std::vector<pollfd> fds = {{wake_[0], POLLIN, 0}, {listener_, POLLIN, 0}};
      if (!stalled_) {
        for (const Pair& pair : pairs_) {
          fds.push_back({pair.client, POLLIN, 0});
          fds.push_back({pair.server, POLLIN, 0});
        }
      }
      CHECK_GE(::poll(fds.data(), fds.size(), -1), 0);
      char drained[64];
      if (fds[0].revents != 0) CHECK_GT(::read(wake_[0], drained, sizeof drained), 0);
      std::vector<Pair> open;
      for (std::size_t i = 0; 2 * i + 3 < fds.size(); ++i) {
        const Pair pair = pairs_[i];
        bool ok = true;
        if (fds[2 * i + 2].revents != 0) ok = Move(pair.client, pair.server, kToServer);
        if (ok && fds[2 * i + 3].revents != 0) ok = Move(pair.server, pair.client, kToClient);
        if (ok) {
          open.push_back(pair);
        } else {
          Close(pair);
        }
      }
      if (fds.size() > 2) pairs_ = open;
      if (fds[1].revents != 0) Accept();
    }
  }

  const std::string listen_path_;
  const std::string server_path_;
  int listener_ = -1;
  int wake_[2] = {-1, -1};
  std::atomic<bool> stop_{false};
  std::atomic<bool> stalled_{false};
  std::atomic<std::int64_t> budget_[2] = {kNoLimit, kNoLimit};
  std::atomic<int> cuts_{0};
  std::vector<Pair> pairs_;  // of the thread
  std::thread thread_;
};

}  // namespace cairn::testing
