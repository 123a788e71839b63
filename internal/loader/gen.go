package loader

// The objects are committed, so that building needs no clang. The drift check
// makes them anew and compares.
//
//go:generate go tool bpf2go -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -no-global-types -type record -type record_header -type process -type image -type image_key -type slot -type control_block -type class_use -type looks -type filter_of -type text_key -type number_key -type gram_key -type event_class -type counter -type record_flag -type limit -type span -type key_field -type key_way -type namespace_kind exec ../../bpf/exec.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -no-global-types seed ../../bpf/seed.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -no-global-types file ../../bpf/file.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -no-global-types network ../../bpf/network.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -no-global-types change ../../bpf/change.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -no-global-types listen ../../bpf/listen.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -no-global-types privilege ../../bpf/privilege.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -no-global-types kernelchange ../../bpf/kernel_change.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
