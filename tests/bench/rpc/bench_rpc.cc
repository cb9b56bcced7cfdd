// What it costs to bring rows from a parameter server's core to a worker and gradients back: the
// real client and server in two processes, over a unix socket and over loopback, with a core that
// only copies; against a bare gRPC stream of raw bytes that moves the same bytes.
//
//   bench_rpc [--quick]
//
// One table of dim 16; requests of 20 000 and 160 000 keys, one at a time. Figures are medians of
// interleaved passes. <name>_vs_bare: CPU time of the bare stream (both ends) over ours; 1 means
// that nothing is added to it.
#include <glog/logging.h>
#include <grpcpp/grpcpp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "common/math/rng.h"
#include "ps/server/server.h"
#include "tests/bench/rpc/bare_stream.h"
#include "worker/client/grpc_ps_client.h"

namespace cairn::bench {
namespace {

constexpr std::uint32_t kDim = 16;
constexpr std::size_t kRowBytes = kDim * sizeof(float);
constexpr std::size_t kMostKeys = 160'000;

// Pull copies rows from a fixed place, push adds up what it got: each byte is touched once.
class CopyCore final : public ps::PsCore {
 public:
  CopyCore() : rows_(kMostKeys * kDim, 0.5f) {}
  bool Owns(std::uint64_t) const override { return true; }
  Status Pull(std::span<const ps::RowsRead> tables, ps::AbsentRow) override {
    for (const auto& read : tables) {
      std::memcpy(read.values, rows_.data(), read.keys.size() * kRowBytes);
    }
    return OkStatus();
  }
  Status Push(std::span<const ps::RowsUpdate> tables, std::span<const ps::DenseChunkUpdate>,
              ps::PushId, double) override {
    for (const auto& update : tables) {
      float sums[kDim] = {};
      for (std::size_t k = 0; k < update.keys.size(); ++k) {
        for (std::uint32_t i = 0; i < kDim; ++i) sums[i] += update.gradients[k * kDim + i];
      }
      sum_ += sums[0];
    }
    return OkStatus();
  }
  Status RegisterDense(std::span<const ps::DenseTensorSpec>) override { return OkStatus(); }
  Status InitDense(std::span<const ps::DenseChunkUpdate>) override { return OkStatus(); }
  Status PullDense(std::span<const ps::DenseChunkRead>) override { return OkStatus(); }
  std::vector<std::pair<std::uint32_t, std::uint32_t>> OwnedDenseChunks() const override {
    return {};
  }
  Status Snapshot(const std::string&, proto::SnapshotReply*) override { return OkStatus(); }
  Status Restore(const std::string&, proto::RestoreReply*) override { return OkStatus(); }
  void Stats(proto::PsStatsReply*) const override {}

 private:
  const std::vector<float> rows_;
  float sum_ = 0;
};

struct Addresses {
  char server[128];
  char bare[128];
};

// The server's process: reports its addresses, then serves until it is killed.
[[noreturn]] void ServeUntilKilled(const std::string& address, const std::string& bare,
                                   int report) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  CopyCore core;
  ps::PsServerOptions options;
  options.address = address;
  auto server = ps::PsServer::Make(options);
  CHECK(server.ok());
  const Status started = (*server)->Start();
  CHECK(started.ok()) << started;
  (*server)->Serve(&core, {0, 1, 10, 1, {kDim}});

  const auto service = MakeBareService();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(bare, grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(service.get());
  const auto bare_server = builder.BuildAndStart();
  CHECK(bare_server != nullptr);

  Addresses addresses{};
  const bool is_unix = address.rfind("unix:", 0) == 0;
  std::snprintf(addresses.server, sizeof addresses.server, "%s", (*server)->address().c_str());
  std::snprintf(addresses.bare, sizeof addresses.bare, "%s",
                is_unix ? bare.c_str() : StrCat("127.0.0.1:", port).c_str());
  CHECK_EQ(::write(report, &addresses, sizeof addresses), static_cast<ssize_t>(sizeof addresses));
  for (;;) ::pause();
}

double Seconds(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Cost {
  double client_us = 0;  // CPU, for each row
  double server_us = 0;
  double rows_per_s = 0;
};

class Meter {
 public:
  explicit Meter(pid_t server) { CHECK_EQ(clock_getcpuclockid(server, &server_), 0); }
  // `calls` calls of `rows` rows each.
  Cost Run(std::size_t rows, int calls, const std::function<void()>& call) const {
    const double client = Seconds(CLOCK_PROCESS_CPUTIME_ID), server = Seconds(server_);
    const double start = Seconds(CLOCK_MONOTONIC);
    for (int i = 0; i < calls; ++i) call();
    const double all = static_cast<double>(rows) * calls;
    return {1e6 * (Seconds(CLOCK_PROCESS_CPUTIME_ID) - client) / all,
            1e6 * (Seconds(server_) - server) / all, all / (Seconds(CLOCK_MONOTONIC) - start)};
  }

 private:
  clockid_t server_{};
};

template <typename Field>
double Median(std::vector<Cost> costs, Field field) {
  std::vector<double> values;
  for (const Cost& cost : costs) values.push_back(field(cost));
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}
double CpuOf(const Cost& cost) { return cost.client_us + cost.server_us; }

void Report(const std::string& name, const std::vector<Cost>& ours, const std::vector<Cost>& bare) {
  const auto print = [&name](const char* what, double value, const char* unit) {
    std::printf("RESULT %s%s=%.4g %s\n", name.c_str(), what, value, unit);
  };
  print("", Median(ours, [](const Cost& c) { return c.rows_per_s; }), "rows/s");
  print("_client_cpu", Median(ours, [](const Cost& c) { return c.client_us; }), "us/row");
  print("_server_cpu", Median(ours, [](const Cost& c) { return c.server_us; }), "us/row");
  print("_bare_cpu", Median(bare, CpuOf), "us/row");
  print("_vs_bare", Median(bare, CpuOf) / Median(ours, CpuOf), "ratio");
  std::fflush(stdout);
}

void Measure(const char* transport, const Addresses& addresses, pid_t server, int passes) {
  worker::GrpcPsClientOptions options;
  options.addresses = {addresses.server};
  options.job_epoch = 1;
  options.incarnation = 1;
  options.table_dims = {kDim};
  const auto client = worker::MakeGrpcPsClient(options);
  CHECK(client.ok()) << client.status();
  const auto bare = BareClient::Connect(addresses.bare);
  const Meter meter(server);

  for (const std::size_t rows : {std::size_t{20'000}, kMostKeys}) {
    std::vector<std::uint64_t> keys(rows);
    Rng rng(1, rows);
    for (auto& key : keys) key = rng.NextU64();
    std::vector<float> values(rows * kDim);
    const worker::TablePull pull{0, keys, values.data()};
    const worker::TablePush push{0, keys, values.data()};
    const std::function<void()> calls[4] = {
        [&] {
          CHECK((*client)->Pull({worker::PullMode::kTrain, {&pull, 1}, {}}).ok());
        },
        [&] { bare->Call(rows * sizeof(std::uint64_t), rows * kRowBytes); },
        [&] {
          CHECK((*client)->Push({{&push, 1}, {}, 1}).ok());
        },
        [&] { bare->Call(rows * (sizeof(std::uint64_t) + kRowBytes), 40); }};
    const int count = static_cast<int>(4 * kMostKeys / rows);
    std::vector<Cost> costs[4];
    for (int pass = -1; pass < passes; ++pass) {
      for (int c = 0; c < 4; ++c) {
        const Cost cost = meter.Run(rows, count, calls[c]);
        if (pass >= 0) costs[c].push_back(cost);  // the first one warms up
      }
    }
    const std::string size = StrCat("_", rows / 1000, "k_", transport);
    Report("rpc_pull" + size, costs[0], costs[1]);
    Report("rpc_push" + size, costs[2], costs[3]);
  }
}

void Run(const char* transport, const std::string& address, const std::string& bare, int passes) {
  int report[2];
  CHECK_EQ(::pipe(report), 0);
  // Each transport in a process of its own: gRPC must not have been used before a fork.
  const pid_t measurer = ::fork();
  if (measurer == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const pid_t server = ::fork();
    if (server == 0) ServeUntilKilled(address, bare, report[1]);
    ::close(report[1]);
    Addresses addresses;
    CHECK_EQ(::read(report[0], &addresses, sizeof addresses),
             static_cast<ssize_t>(sizeof addresses))
        << "the server did not start";
    Measure(transport, addresses, server, passes);
    ::kill(server, SIGKILL);
    ::waitpid(server, nullptr, 0);
    ::_exit(0);
  }
  ::close(report[0]);
  ::close(report[1]);
  int status = 0;
  ::waitpid(measurer, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  const bool quick = argc > 1 && std::string(argv[1]) == "--quick";
  if (argc > 1 && !quick) {
    std::fprintf(stderr, "usage: bench_rpc [--quick]\n");
    return 2;
  }
  const int passes = quick ? 7 : 25;
  const std::string stem = cairn::StrCat("unix:/tmp/cairn_bench_rpc_", ::getpid());
  cairn::bench::Run("unix", stem + "_a.sock", stem + "_b.sock", passes);
  cairn::bench::Run("tcp", "127.0.0.1:0", "127.0.0.1:0", passes);
  return 0;
}
