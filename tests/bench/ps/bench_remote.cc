// Pull and push of resident rows through gRPC: the real server with its core in one process, the
// real client in another, over a unix socket and over loopback TCP; beside it a bare gRPC stream
// that moves the same bytes in the same directions, without keys, table or arithmetic.
//
//   bench_remote --job=FILE [--quick] [--rows=N] [--set=path.to.field=value ...] [--only=TEXT]
//                [--passes=N]
//
// --only: cases whose names contain TEXT, as step_zipf_unix does "unix".
// Of the job only its one table and its server settings are used. Requests of 20 000 different
// keys, drawn uniformly or by Zipf 1.05. Cases:
//   pull, push    one at a time
//   pull2         two pulls in flight
//   step          as a worker trains: the pull of the next step beside the push of this one; a row
//                 counts once for its pull and once for its push
// Rates are medians of interleaved passes by the wall clock; CPU times are of all passes. The bare
// stream has as many calls in flight, each on a connection of its own. remote_others is what other
// processes used of the machine meanwhile, in cores: rates mean nothing unless it is near 0.
#include <glog/logging.h>
#include <grpcpp/grpcpp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "common/base/bounded_queue.h"
#include "common/config/config.h"
#include "common/math/rng.h"
#include "common/rpc/frame.h"
#include "proto/config.pb.h"
#include "proto/ps_service.pb.h"
#include "ps/server/server.h"
#include "tests/bench/ps/process_cpu.h"
#include "tests/bench/ps/zipf.h"
#include "tests/bench/rpc/bare_stream.h"
#include "worker/client/grpc_ps_client.h"

namespace cairn::bench {
namespace {

constexpr std::size_t kRequestKeys = 20'000;
constexpr int kRequests = 50;  // of a pass: more rows than any cache holds

struct Options {
  std::string job;
  std::vector<std::string> overrides;
  std::string only;
  std::size_t rows = 10'000'000;
  int passes = 11;
};

std::uint64_t KeyOf(std::uint64_t rank) { return Rng(1, rank).NextU64(); }

// ------------------------------------------------------------------------------- server's process

// The core, and the CPU time that its calls take.
class MeteredCore final : public ps::PsCore {
 public:
  // `nanos` outlives this.
  MeteredCore(std::unique_ptr<ps::PsCore> core, std::atomic<std::uint64_t>* nanos)
      : core_(std::move(core)), nanos_(nanos) {}
  bool Owns(std::uint64_t key) const override { return core_->Owns(key); }
  Status Pull(std::span<const ps::RowsRead> tables, ps::AbsentRow absent) override {
    const Timer timer(nanos_);
    return core_->Pull(tables, absent);
  }
  Status Push(std::span<const ps::RowsUpdate> tables, std::span<const ps::DenseChunkUpdate> dense,
              ps::PushId id, double learning_rate_scale) override {
    const Timer timer(nanos_);
    return core_->Push(tables, dense, id, learning_rate_scale);
  }
  Status RegisterDense(std::span<const ps::DenseTensorSpec> layout) override {
    return core_->RegisterDense(layout);
  }
  Status InitDense(std::span<const ps::DenseChunkUpdate> chunks) override {
    return core_->InitDense(chunks);
  }
  Status PullDense(std::span<const ps::DenseChunkRead> chunks) override {
    return core_->PullDense(chunks);
  }
  std::vector<std::pair<std::uint32_t, std::uint32_t>> OwnedDenseChunks() const override {
    return core_->OwnedDenseChunks();
  }
  Status Snapshot(const std::string& folder, proto::SnapshotReply* reply) override {
    return core_->Snapshot(folder, reply);
  }
  Status Restore(const std::string& checkpoint, proto::RestoreReply* reply) override {
    return core_->Restore(checkpoint, reply);
  }
  void Stats(proto::PsStatsReply* reply) const override { core_->Stats(reply); }

 private:
  class Timer {
   public:
    explicit Timer(std::atomic<std::uint64_t>* nanos)
        : nanos_(nanos), start_(SecondsOf(CLOCK_THREAD_CPUTIME_ID)) {}
    ~Timer() {
      const double seconds = SecondsOf(CLOCK_THREAD_CPUTIME_ID) - start_;
      nanos_->fetch_add(static_cast<std::uint64_t>(seconds * 1e9));
    }

   private:
    std::atomic<std::uint64_t>* const nanos_;
    const double start_;
  };

  const std::unique_ptr<ps::PsCore> core_;
  std::atomic<std::uint64_t>* const nanos_;
};

// What the server tells the measuring process; in memory that both share.
struct Shared {
  std::atomic<std::uint64_t> core_nanos{0};
  char servers[2][128];
  char bares[2][128];
};

void Fill(ps::PsCore& core, std::size_t rows, std::uint32_t dim) {
  std::vector<float> gradients(kRequestKeys * dim);
  Rng rng(1, 1);
  for (float& g : gradients) g = 0.1f * static_cast<float>(rng.NextDouble() - 0.5);
  std::vector<std::uint64_t> keys;
  for (std::size_t i = 0; i < rows;) {
    keys.clear();
    for (; i < rows && keys.size() < kRequestKeys; ++i) keys.push_back(KeyOf(i));
    const ps::RowsUpdate update{0, keys, gradients.data()};
    const Status filled = core.Push({&update, 1}, {}, {}, 1);
    CHECK(filled.ok()) << filled;
  }
}

[[noreturn]] void ServeUntilKilled(const proto::JobConfig& job, std::size_t rows,
                                   const std::string& folder, Shared* shared, int ready) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const std::uint32_t dim = job.table(0).dim();
  auto made = ps::PsCore::Make(job, {.folder = folder + "/ps"});
  CHECK(made.ok()) << made.status();
  MeteredCore core(std::move(*made), &shared->core_nanos);
  proto::RestoreReply restored;
  const Status empty = core.Restore("", &restored);
  CHECK(empty.ok()) << empty;
  Fill(core, rows, dim);

  std::vector<std::unique_ptr<ps::PsServer>> servers;
  std::vector<std::unique_ptr<grpc::CallbackGenericService>> bare_services;
  std::vector<std::unique_ptr<grpc::Server>> bare_servers;
  for (int transport = 0; transport < 2; ++transport) {
    ps::PsServerOptions options;
    options.address = transport == 0 ? StrCat("unix:", folder, "/ps.sock") : "127.0.0.1:0";
    auto server = ps::PsServer::Make(options);
    CHECK(server.ok()) << server.status();
    const Status started = (*server)->Start();
    CHECK(started.ok()) << started;
    (*server)->Serve(&core, {0, 1, 10, 1, {dim}});
    std::snprintf(shared->servers[transport], 128, "%s", (*server)->address().c_str());
    servers.push_back(std::move(*server));

    const std::string bare = transport == 0 ? StrCat("unix:", folder, "/bare.sock") : "127.0.0.1:0";
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(bare, grpc::InsecureServerCredentials(), &port);
    bare_services.push_back(MakeBareService());
    builder.RegisterCallbackGenericService(bare_services.back().get());
    bare_servers.push_back(builder.BuildAndStart());
    CHECK(bare_servers.back() != nullptr);
    std::snprintf(shared->bares[transport], 128, "%s",
                  transport == 0 ? bare.c_str() : StrCat("127.0.0.1:", port).c_str());
  }
  CHECK_EQ(::write(ready, "", 1), 1);
  for (;;) ::pause();
}

// ---------------------------------------------------------------------------- measuring process

struct Pass {
  double seconds = 0;
  CpuTime client, server;
  double core = 0;  // CPU seconds
};

class Meter {
 public:
  Meter(pid_t server, const Shared* shared) : server_(server), shared_(shared) {}
  Pass Run(const std::function<void()>& work) const {
    const CpuTime client = CpuTimeOf(::getpid()), server = CpuTimeOf(server_);
    const std::uint64_t core = shared_->core_nanos;
    const double start = SecondsOf(CLOCK_MONOTONIC);
    work();
    Pass pass;
    pass.seconds = SecondsOf(CLOCK_MONOTONIC) - start;
    pass.client = CpuTimeOf(::getpid()) - client;
    pass.server = CpuTimeOf(server_) - server;
    pass.core = 1e-9 * static_cast<double>(shared_->core_nanos - core);
    return pass;
  }

 private:
  const pid_t server_;
  const Shared* const shared_;
};

// All passes of one side of a case.
struct Passes {
  std::vector<double> seconds;
  CpuTime client, server;
  double core = 0;

  void Add(const Pass& pass) {
    seconds.push_back(pass.seconds);
    client += pass.client;
    server += pass.server;
    core += pass.core;
  }
  double MedianSeconds() const {
    std::vector<double> sorted = seconds;
    std::ranges::sort(sorted);
    return sorted[sorted.size() / 2];
  }
  double Cpu() const { return client.total + server.total; }
};

struct Case {
  const char* name;
  double rows;   // of a pass
  double bytes;  // both directions
  std::function<void()> ours, bare;
  Passes our_passes{}, bare_passes{};
};

constexpr double kNone = 1e99;

// The smallest over all cases, for the lines at the end.
struct Summary {
  double seconds = 0;  // of all passes
  double others_cpu = 0;
  double rows_per_s = kNone;
  double vs_bare = kNone;
  double step_vs_bare = kNone;
};

// first(0), then second(i) beside first(i + 1): two stages of a pipeline.
void InPipeline(const std::function<void(int)>& first, const std::function<void(int)>& second) {
  BoundedQueue<int> done(1);
  std::thread behind([&] {
    while (const auto i = done.Pop()) second(*i);
  });
  for (int i = 0; i < kRequests; ++i) {
    first(i);
    CHECK(done.Push(i));
  }
  done.Close();
  behind.join();
}

// work(i, 0) and work(i, 1) in two threads, each for half of the requests.
void InTwo(const std::function<void(int, int)>& work) {
  std::thread other([&] {
    for (int i = 1; i < kRequests; i += 2) work(i, 1);
  });
  for (int i = 0; i < kRequests; i += 2) work(i, 0);
  other.join();
}

class Bench {
 public:
  Bench(const Options& options, std::uint32_t dim, pid_t server, const Shared* shared)
      : options_(options), dim_(dim), meter_(server, shared), shared_(shared) {
    for (auto& values : values_) values.resize(kRequestKeys * dim);
    gradients_.resize(kRequestKeys * dim);
    Rng rng(2, 1);
    for (float& g : gradients_) g = 0.1f * static_cast<float>(rng.NextDouble() - 0.5);
  }

  Summary Run() {
    const Zipf zipf(1.05, options_.rows);
    const auto uniform = MakeRequests([&](Rng& rng) { return rng.NextBelow(options_.rows); });
    const auto skewed = MakeRequests([&](Rng& rng) { return zipf.Next(rng); });
    Summary summary;
    for (int transport = 0; transport < 2; ++transport) {
      const char* const name = transport == 0 ? "unix" : "tcp";
      const auto client = MakeClient(transport);
      const std::unique_ptr<BareClient> bares[2] = {BareClient::Connect(shared_->bares[transport]),
                                                    BareClient::Connect(shared_->bares[transport])};
      Measure(StrCat("uniform_", name), client.get(), bares, uniform, &summary);
      Measure(StrCat("zipf_", name), client.get(), bares, skewed, &summary);
    }
    return summary;
  }

 private:
  using Requests = std::vector<std::vector<std::uint64_t>>;

  Requests MakeRequests(const std::function<std::uint64_t(Rng&)>& draw) const {
    Requests requests(kRequests);
    Rng rng(2, 2);
    for (auto& keys : requests) {
      std::unordered_set<std::uint64_t> seen;
      while (keys.size() < kRequestKeys) {
        const std::uint64_t rank = draw(rng);
        if (seen.insert(rank).second) keys.push_back(KeyOf(rank));
      }
    }
    return requests;
  }

  std::unique_ptr<worker::PsClient> MakeClient(int transport) const {
    worker::GrpcPsClientOptions options;
    options.addresses = {shared_->servers[transport]};
    options.job_epoch = 1;
    options.worker = static_cast<std::uint32_t>(transport);
    options.incarnation = 1;
    options.table_dims = {dim_};
    auto client = worker::MakeGrpcPsClient(options);
    CHECK(client.ok()) << client.status();
    return std::move(*client);
  }

  void Measure(const std::string& suffix, worker::PsClient* client,
               const std::unique_ptr<BareClient> (&bares)[2], const Requests& requests,
               Summary* summary) {
    // Bodies of our frames, with the header of each frame.
    const std::size_t heads = rpc::kStepHeadBytes + rpc::kTableHeadBytes + rpc::kHeaderBytes;
    const std::size_t row_bytes = kRequestKeys * dim_ * sizeof(float);
    const std::size_t pull_out = heads + kRequestKeys * sizeof(std::uint64_t);
    const std::size_t pull_in = row_bytes + 2 * rpc::kHeaderBytes;
    const std::size_t push_out = pull_out + row_bytes + rpc::kHeaderBytes;
    const std::size_t push_in = rpc::kHeaderBytes;
    const double rows = static_cast<double>(kRequests * kRequestKeys);
    const double pull_bytes = static_cast<double>(kRequests * (pull_out + pull_in));
    const double push_bytes = static_cast<double>(kRequests * (push_out + push_in));

    const auto pull = [&](int i, int buffer) {
      const worker::TablePull table{0, requests[i], values_[buffer].data()};
      const Status status = client->Pull({worker::PullMode::kTrain, {&table, 1}, {}});
      CHECK(status.ok()) << status;
    };
    const auto push = [&](int i) {
      const worker::TablePush table{0, requests[i], gradients_.data()};
      const Status status = client->Push({{&table, 1}, {}, 1});
      CHECK(status.ok()) << status;
    };
    const auto bare_pull = [&](int, int bare) { bares[bare]->Call(pull_out, pull_in); };
    const auto bare_push = [&](int bare) { bares[bare]->Call(push_out, push_in); };
    Case cases[] = {
        {"pull", rows, pull_bytes, [&] { InTurn([&](int i) { pull(i, 0); }); },
         [&] { InTurn([&](int i) { bare_pull(i, 0); }); }},
        {"push", rows, push_bytes, [&] { InTurn([&](int i) { push(i); }); },
         [&] { InTurn([&](int) { bare_push(0); }); }},
        {"pull2", rows, pull_bytes, [&] { InTwo(pull); }, [&] { InTwo(bare_pull); }},
        {"step", 2 * rows, pull_bytes + push_bytes,
         [&] { InPipeline([&](int i) { pull(i, 0); }, push); },
         [&] { InPipeline([&](int i) { bare_pull(i, 0); }, [&](int) { bare_push(1); }); }},
    };
    const double start = SecondsOf(CLOCK_MONOTONIC), busy = BusySeconds();
    double cpu = 0;
    for (int pass = -1; pass < options_.passes; ++pass) {
      for (Case& c : cases) {
        if (!Selected(c, suffix)) continue;
        const Pass bare = meter_.Run(c.bare);
        const Pass ours = meter_.Run(c.ours);
        cpu += bare.client.total + bare.server.total + ours.client.total + ours.server.total;
        if (pass < 0) continue;  // warms up
        c.bare_passes.Add(bare);
        c.our_passes.Add(ours);
      }
    }
    summary->seconds += SecondsOf(CLOCK_MONOTONIC) - start;
    summary->others_cpu += BusySeconds() - busy - cpu;
    for (const Case& c : cases) {
      if (Selected(c, suffix)) Report(StrCat(c.name, "_", suffix), c, summary);
    }
  }

  bool Selected(const Case& c, const std::string& suffix) const {
    return StrCat(c.name, "_", suffix).find(options_.only) != std::string::npos;
  }

  static void InTurn(const std::function<void(int)>& work) {
    for (int i = 0; i < kRequests; ++i) work(i);
  }

  static void Report(const std::string& name, const Case& c, Summary* summary) {
    const Passes& ours = c.our_passes;
    const Passes& bare = c.bare_passes;
    const double all_rows = c.rows * static_cast<double>(ours.seconds.size());
    const auto print = [&name](const char* what, double value, const char* unit) {
      std::printf("RESULT remote_%s%s=%.4g %s\n", name.c_str(), what, value, unit);
    };
    const auto print_cpu = [&](const char* what, double seconds) {
      print(what, 1e9 * seconds / all_rows, "ns/row");
    };
    const double rate = c.rows / ours.MedianSeconds();
    const double vs_bare = bare.MedianSeconds() / ours.MedianSeconds();
    print("", rate / 1e6, "M rows/s");
    print("_bytes", c.bytes / ours.MedianSeconds() / 1e6, "MB/s");
    print_cpu("_client_user_cpu", ours.client.total - ours.client.System());
    print_cpu("_client_system_cpu", ours.client.System());
    print_cpu("_server_user_cpu", ours.server.total - ours.server.System());
    print_cpu("_server_system_cpu", ours.server.System());
    print_cpu("_server_core_cpu", ours.core);
    print_cpu("_bare_cpu", bare.Cpu());
    print("_transport_cpu_vs_bare", bare.Cpu() / (ours.Cpu() - ours.core), "ratio");
    print("_bare", c.rows / bare.MedianSeconds() / 1e6, "M rows/s");
    print("_vs_bare", vs_bare, "ratio");
    std::fflush(stdout);
    summary->rows_per_s = std::min(summary->rows_per_s, rate);
    summary->vs_bare = std::min(summary->vs_bare, vs_bare);
    if (std::string_view(c.name) == "step") {
      summary->step_vs_bare = std::min(summary->step_vs_bare, vs_bare);
    }
  }

  const Options options_;
  const std::uint32_t dim_;
  const Meter meter_;
  const Shared* const shared_;
  std::vector<float> values_[2], gradients_;
};

void Run(const Options& options) {
  const auto job = LoadJob(options.job, options.overrides);
  CHECK(job.ok()) << job.status();
  CHECK_EQ(job->table_size(), 1) << options.job << " must have one table";
  std::string folder = std::filesystem::temp_directory_path() / "bench_remote_XXXXXX";
  PCHECK(::mkdtemp(folder.data()) != nullptr);
  void* const memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  PCHECK(memory != MAP_FAILED);
  auto* const shared = new (memory) Shared;
  int ready[2];
  PCHECK(::pipe(ready) == 0);
  // gRPC must not have been used before a fork.
  const pid_t server = ::fork();
  PCHECK(server >= 0);
  if (server == 0) ServeUntilKilled(*job, options.rows, folder, shared, ready[1]);
  ::close(ready[1]);
  char byte = 0;
  CHECK_EQ(::read(ready[0], &byte, 1), 1) << "the server did not start";
  {
    Bench bench(options, job->table(0).dim(), server, shared);
    const Summary summary = bench.Run();
    std::printf("RESULT remote_others=%.2f cores\n", summary.others_cpu / summary.seconds);
    std::printf("RESULT remote_slowest=%.4g M rows/s\n", summary.rows_per_s / 1e6);
    if (summary.step_vs_bare < kNone) {
      std::printf("RESULT remote_step_vs_bare=%.3f ratio\n", summary.step_vs_bare);
    }
    std::printf("RESULT remote_vs_bare=%.3f ratio\n", summary.vs_bare);
  }
  ::kill(server, SIGKILL);
  ::waitpid(server, nullptr, 0);
  std::filesystem::remove_all(folder);
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--quick") {
      options.rows = 4'000'000;
      options.passes = 5;
    } else if (flag.starts_with("--rows=")) {
      options.rows = std::strtoull(flag.c_str() + 7, nullptr, 10);
    } else if (flag.starts_with("--job=")) {
      options.job = flag.substr(6);
    } else if (flag.starts_with("--set=")) {
      options.overrides.push_back(flag.substr(6));
    } else if (flag.starts_with("--passes=")) {
      options.passes = std::atoi(flag.c_str() + 9);
    } else if (flag.starts_with("--only=")) {
      options.only = flag.substr(7);
    } else {
      options.job.clear();
      break;
    }
  }
  if (options.job.empty() || options.rows < 10 * kRequestKeys || options.passes < 1) {
    std::fprintf(stderr,
                 "usage: bench_remote --job=FILE [--quick] [--rows=N, at least %zu] "
                 "[--set=path.to.field=value ...] [--only=TEXT] [--passes=N]\n",
                 10 * kRequestKeys);
    return 2;
  }
  Run(options);
  return 0;
}

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  return cairn::bench::Main(argc, argv);
}
