package event

// The classes that carry a field.
var (
	every     = Classes()
	exec      = []Class{ProcessExec}
	exit      = []Class{ProcessExit}
	open      = []Class{FileOpen}
	ofFiles   = []Class{FileOpen, FileChange, PrivilegeChange, KernelChange}
	claims    = []Class{FileChange, PrivilegeChange}
	change    = []Class{FileChange}
	ofPeers   = []Class{NetworkConnect, NetworkListen}
	listen    = []Class{NetworkListen}
	privilege = []Class{PrivilegeChange}
	kernel    = []Class{KernelChange}
)

var fieldTable = [fieldCount]FieldInfo{
	ProcessExecutable: {Name: "process.executable", Kind: String, Many: true, Classes: every, Doc: "Path of the process's image: the resolved file, and the name it was invoked by."},
	ProcessName:       {Name: "process.name", Kind: String, Many: true, Classes: every, Doc: "Last component of each value of `process.executable`."},
	ProcessArgs:       {Name: "process.args", Kind: String, Many: true, Classes: every, Doc: "Each argument, the program's own name first."},
	ProcessArgsCount:  {Name: "process.args_count", Kind: Number, Classes: exec, Doc: "Number of arguments, the program's own name included."},
	ProcessCommandLine: {Name: "process.command_line", Alias: "command_text", Kind: String, Classes: every,
		Doc: "Arguments joined by single spaces: up to 4,096 bytes of a `process_exec`; in other classes as far as 1,024 bytes hold them and the paths of the process."},
	ProcessWorkingDirectory: {Name: "process.working_directory", Kind: String, Classes: exec, Doc: "Working directory at the time of the event."},
	ProcessPID:              {Name: "process.pid", Kind: Number, Classes: every, Doc: "Process id in the initial pid namespace."},
	ProcessParentExecutable: {Name: "process.parent.executable", Kind: String, Many: true, Classes: every, Doc: "Path of the parent's image, as for `process.executable`."},
	ProcessParentName:       {Name: "process.parent.name", Kind: String, Many: true, Classes: every, Doc: "Last component of each value of `process.parent.executable`."},
	ProcessParentCommandLine: {Name: "process.parent.command_line", Kind: String, Classes: every,
		Doc: "The parent's arguments joined by single spaces, as far as 1,024 bytes hold them and the parent's paths."},
	ProcessParentPID: {Name: "process.parent.pid", Kind: Number, Classes: every, Doc: "Process id of the parent."},
	UserID:           {Name: "user.id", Kind: Number, Classes: every, Doc: "Real user id."},
	UserEffectiveID:  {Name: "user.effective.id", Kind: Number, Classes: every, Doc: "Effective user id."},
	UserName:         {Name: "user.name", Kind: String, Classes: every, Doc: "Name of the real user on this host."},
	GroupID:          {Name: "group.id", Kind: Number, Classes: every, Doc: "Real group id."},

	ProcessExecutableTruncated:        {Name: "process.executable.truncated", Kind: Bool, Classes: every, Doc: "The path was not captured whole, or is not known."},
	ProcessCommandLineTruncated:       {Name: "process.command_line.truncated", Kind: Bool, Classes: every, Doc: "The arguments were not captured whole, or are not known."},
	ProcessWorkingDirectoryTruncated:  {Name: "process.working_directory.truncated", Kind: Bool, Classes: exec, Doc: "The working directory was not captured whole."},
	ProcessParentExecutableTruncated:  {Name: "process.parent.executable.truncated", Kind: Bool, Classes: every, Doc: "The parent's path was not captured whole, or the parent is not known."},
	ProcessParentCommandLineTruncated: {Name: "process.parent.command_line.truncated", Kind: Bool, Classes: every, Doc: "The parent's arguments were not captured whole, or are not known."},

	ProcessExitCode:   {Name: "process.exit_code", Kind: Number, Classes: exit, Doc: "Exit status, 0 to 255; 0 if a signal ended the process."},
	ProcessExitSignal: {Name: "process.exit_signal", Kind: Number, Classes: exit, Doc: "The signal that ended the process, 0 if it ended by itself."},

	FilePath: {Name: "file.path", Kind: String, Classes: ofFiles,
		Doc: "Path of the file as the process sees it, symbolic links resolved. Of `privilege_change` what was mounted on, of `kernel_change` the file that was loaded."},
	FileName:          {Name: "file.name", Kind: String, Classes: ofFiles, Doc: "Last component of `file.path`."},
	FilePathTruncated: {Name: "file.path.truncated", Kind: Bool, Classes: ofFiles, Doc: "The path was not captured whole."},
	FileOpenRead:      {Name: "file.open.read", Kind: Bool, Classes: open, Doc: "The file was opened for reading."},
	FileOpenWrite:     {Name: "file.open.write", Kind: Bool, Classes: open, Doc: "The file was opened for writing."},
	FileOpenCreate:    {Name: "file.open.create", Kind: Bool, Classes: open, Doc: "The file was to be created if it did not exist (`O_CREAT`)."},
	FileOpenTruncate:  {Name: "file.open.truncate", Kind: Bool, Classes: open, Doc: "The file was to be emptied (`O_TRUNC`)."},

	DestinationIP: {Name: "destination.ip", Kind: String, Address: true, Classes: ofPeers,
		Doc: "IP address of the peer in its canonical form: the shortest one, and IPv4 if it is mapped into IPv6. In `network_listen` only of `accept`."},
	DestinationPort: {Name: "destination.port", Kind: Number, Classes: ofPeers, Doc: "Port of the peer, 0 if there is none."},
	NetworkTransport: {Name: "network.transport", Kind: String, Values: transports, Classes: ofPeers,
		Doc: "Protocol above IP; not known if it is another."},
	NetworkType: {Name: "network.type", Kind: String, Values: networkTypes, Classes: ofPeers, Doc: "Version of IP."},

	ProcessScript: {Name: "process.script", Kind: String, Classes: every,
		Doc: "Path given to execve(2) if it was a script. `process.executable` has its interpreter then, and the script as the name it was invoked by."},
	ProcessExecutableDeleted: {Name: "process.executable.deleted", Kind: Bool, Classes: every, Doc: "The image's file had no name any more when it was executed; of a process from before the agent, when the agent started."},
	ProcessExecutableMemfd:   {Name: "process.executable.memfd", Kind: Bool, Classes: every, Doc: "The image is an anonymous file in memory, of memfd_create(2)."},
	FieldContainerID:         {Name: "container.id", Kind: String, Classes: every, Doc: "Id of the container that the process is in, 64 hexadecimal digits; not known outside of containers."},

	FilePathClaimed: {Name: "file.path.claimed", Kind: Bool, Classes: claims,
		Doc: "The paths are what the process's memory says after the call, and not what the kernel acted on."},
	FileOperation:         {Name: "file.operation", Kind: String, Values: fileOperations, ValueDocs: fileOperationDocs, Classes: change, Doc: "What was done to the file."},
	FileNewPath:           {Name: "file.new_path", Kind: String, Classes: change, Doc: "Path that the file has after `rename` or `link`."},
	FileNewPathTruncated:  {Name: "file.new_path.truncated", Kind: Bool, Classes: change, Doc: "That path was not captured whole."},
	FileTargetPath:        {Name: "file.target_path", Kind: String, Classes: change, Doc: "What a new symbolic link points to, as written."},
	FileModeSetuid:        {Name: "file.mode.setuid", Kind: Bool, Classes: change, Doc: "After `create`, `mkdir` or `chmod` the file runs as its owner; not known of other operations, as are the other modes."},
	FileModeSetgid:        {Name: "file.mode.setgid", Kind: Bool, Classes: change, Doc: "After the change the file runs as its group."},
	FileModeExecutable:    {Name: "file.mode.executable", Kind: Bool, Classes: change, Doc: "After the change its owner, its group or others may execute the file."},
	FileModeWorldWritable: {Name: "file.mode.world_writable", Kind: Bool, Classes: change, Doc: "After the change others may write to the file."},
	FileUID:               {Name: "file.uid", Kind: Number, Classes: change, Doc: "New owner, of `chown`; not known if it stays."},
	FileGID:               {Name: "file.gid", Kind: Number, Classes: change, Doc: "New group, of `chown`; not known if it stays."},

	NetworkOperation: {Name: "network.operation", Kind: String, Values: networkOperations, ValueDocs: networkOperationDocs, Classes: listen, Doc: "What was done with the socket."},
	SourceIP:         {Name: "source.ip", Kind: String, Address: true, Classes: listen, Doc: "IP address of this host's side, in the form of `destination.ip`."},
	SourcePort:       {Name: "source.port", Kind: Number, Classes: listen, Doc: "Port of this host's side."},

	PrivilegeOperation:        {Name: "privilege.operation", Kind: String, Values: privilegeOperations, ValueDocs: privilegeOperationDocs, Classes: privilege, Doc: "What was done."},
	PrivilegeCapabilities:     {Name: "privilege.capabilities", Kind: String, Values: capabilities, Many: true, Classes: privilege, Doc: "Effective capabilities after `capset`, named as in capabilities(7)."},
	PrivilegeNamespaces:       {Name: "privilege.namespaces", Kind: String, Values: namespaces, Many: true, Classes: privilege, Doc: "Kinds of the namespaces that are new to the process; not known of a `setns` that leaves it to the kernel what its descriptor is of."},
	PrivilegeTargetPID:        {Name: "privilege.target.pid", Kind: Number, Classes: privilege, Doc: "Process that `ptrace` takes hold of."},
	PrivilegeTargetExecutable: {Name: "privilege.target.executable", Kind: String, Classes: privilege, Doc: "Path of that process's image."},
	MountSource:               {Name: "mount.source", Kind: String, Classes: privilege, Doc: "What was mounted, as given to mount(2)."},
	MountType:                 {Name: "mount.type", Kind: String, Classes: privilege, Doc: "Type of the file system: `ext4`, `overlay` and so on."},
	UserChangesID:             {Name: "user.changes.id", Kind: Number, Classes: privilege, Doc: "Real user id after `setuid`; not known if it stays."},
	UserChangesEffectiveID:    {Name: "user.changes.effective.id", Kind: Number, Classes: privilege, Doc: "Effective user id after `setuid`; not known if it stays."},
	UserChangesGroupID:        {Name: "user.changes.group.id", Kind: Number, Classes: privilege, Doc: "Real group id after `setgid`; not known if it stays."},

	KernelOperation: {Name: "kernel.operation", Kind: String, Values: kernelOperations, ValueDocs: kernelOperationDocs, Classes: kernel, Doc: "What was loaded, or from where."},
	KernelName:      {Name: "kernel.name", Kind: String, Classes: kernel, Doc: "Name of the module or of the BPF program, which has 15 bytes at most."},
	KernelType:      {Name: "kernel.type", Kind: String, Values: programTypes, Classes: kernel, Doc: "Type of the BPF program, as in enum bpf_prog_type of linux/bpf.h; not known if it is a later one."},
}
