#include "launch/supervise/cluster_state.h"

#include <fcntl.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "common/io/file.h"
#include "launch/text/json.h"

namespace cairn::launch {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

constexpr int kFormat = 1;

std::string StatePath(const std::string& run_dir) { return JoinPath(run_dir, "cluster.json"); }

const Value& Field(const Struct& object, const std::string& name) {
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? Value::default_instance() : found->second;
}
std::string Text(const Struct& object, const std::string& name) {
  return Field(object, name).string_value();
}
// Whole numbers below 2^53, which all of ours are.
template <typename Integer>
Integer Whole(const Struct& object, const std::string& name) {
  return static_cast<Integer>(Field(object, name).number_value());
}

void WriteProcess(const ProcessState& process, JsonWriter& json) {
  json.BeginObject();
  json.Key("role").String(process.role);
  json.Key("index").Int(process.index);
  json.Key("pid").Int(process.pid);
  json.Key("start_ticks").Uint(process.start_ticks);
  json.Key("log").String(process.log);
  json.Key("started_unix_s").Int(process.started_unix_s);
  json.Key("ended").String(process.ended);
  json.Key("seconds").Double(process.seconds);
  json.EndObject();
}

ProcessState ReadProcess(const Struct& object) {
  ProcessState process;
  process.role = Text(object, "role");
  process.index = Whole<int>(object, "index");
  process.pid = Whole<pid_t>(object, "pid");
  process.start_ticks = Whole<std::uint64_t>(object, "start_ticks");
  process.log = Text(object, "log");
  process.started_unix_s = Whole<std::int64_t>(object, "started_unix_s");
  process.ended = Text(object, "ended");
  process.seconds = Field(object, "seconds").number_value();
  return process;
}

}  // namespace

std::string ClusterStateJson(const ClusterState& state) {
  JsonWriter json;
  json.BeginObject();
  json.Key("format").Int(kFormat);
  json.Key("state").String(state.state);
  json.Key("job").String(state.job);
  json.Key("job_file").String(state.job_file);
  json.Key("run_dir").String(state.run_dir);
  json.Key("host").String(state.host);
  json.Key("supervisor").BeginObject();
  json.Key("pid").Int(state.supervisor_pid);
  json.Key("start_ticks").Uint(state.supervisor_start_ticks);
  json.EndObject();
  json.Key("coordinator").String(state.coordinator);
  json.Key("started_unix_s").Int(state.started_unix_s);
  json.Key("ended_unix_s").Int(state.ended_unix_s);
  json.Key("exit_code").Int(state.exit_code);
  json.Key("result").String(state.result);
  json.Key("failure").String(state.failure);
  json.Key("process").BeginArray();
  for (const ProcessState& process : state.process) WriteProcess(process, json);
  json.EndArray();
  json.EndObject();
  return json.Take();
}

Status WriteClusterState(const ClusterState& state) {
  const std::string path = StatePath(state.run_dir);
  const std::string next = path + ".tmp";
  const std::string text = ClusterStateJson(state);
  const int fd = open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus("write", next, errno);
  const bool written = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error = errno;
  close(fd);
  if (!written) return ErrnoStatus("write", next, error);
  if (rename(next.c_str(), path.c_str()) != 0) return ErrnoStatus("write", path, errno);
  return OkStatus();
}

Result<ClusterState> ReadClusterState(const std::string& run_dir) {
  const std::string path = StatePath(run_dir);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  Struct object;
  const auto parsed = google::protobuf::util::JsonStringToMessage(text, &object);
  if (!parsed.ok()) return absl::DataLossError(StrCat(path, " is no JSON: ", parsed.ToString()));
  if (Whole<int>(object, "format") != kFormat) {
    return absl::DataLossError(StrCat(path, " is not of format ", kFormat));
  }
  ClusterState state;
  state.state = Text(object, "state");
  state.job = Text(object, "job");
  state.job_file = Text(object, "job_file");
  state.run_dir = run_dir;
  state.host = Text(object, "host");
  const Struct& supervisor = Field(object, "supervisor").struct_value();
  state.supervisor_pid = Whole<pid_t>(supervisor, "pid");
  state.supervisor_start_ticks = Whole<std::uint64_t>(supervisor, "start_ticks");
  state.coordinator = Text(object, "coordinator");
  state.started_unix_s = Whole<std::int64_t>(object, "started_unix_s");
  state.ended_unix_s = Whole<std::int64_t>(object, "ended_unix_s");
  state.exit_code = Whole<int>(object, "exit_code");
  state.result = Text(object, "result");
  state.failure = Text(object, "failure");
  for (const Value& process : Field(object, "process").list_value().values()) {
    state.process.push_back(ReadProcess(process.struct_value()));
  }
  return state;
}

}  // namespace cairn::launch
