// Linked into tests that start gRPC: options for the thread sanitizer, which sees nothing of the
// ordering inside Debian's gRPC, as that is not built for it. Interceptors called from there are
// ignored, and so are reports whose innermost frame is gRPC's own inline code or the std::function
// through which it calls us. What our functions touch is checked: they take our own locks.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_suppressions();

extern "C" const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }
extern "C" const char* __tsan_default_suppressions() {
  return "race_top:^grpc::\n"
         "race_top:grpc::internal::\n"
         "race_top:^std::function<void (bool)>\n"
         "race_top:^std::_Function_base\n"
         "race_top:^std::__atomic_base\n"
         // Members of gRPC's classes, as they are made, filled and cleared.
         "race:^grpc::TemplatedGenericStub\n"
         "race:^grpc::internal::CallbackWithSuccessTag::Set\n"
         "race:^grpc::internal::CallbackWithSuccessTag::Clear\n"
         "race:^grpc::internal::CallOpSendMessage::\n"
         "race:PreBindBacklog\n";
}
