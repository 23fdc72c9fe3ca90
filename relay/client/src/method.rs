//! Methods (RFC 8489 §18.2, RFC 8656 §17).

/// Binding.
pub const BINDING: u16 = 0x001;
/// Allocate.
pub const ALLOCATE: u16 = 0x003;
/// Refresh.
pub const REFRESH: u16 = 0x004;
/// Send, an indication only.
pub const SEND: u16 = 0x006;
/// Data, an indication only.
pub const DATA: u16 = 0x007;
/// CreatePermission.
pub const CREATE_PERMISSION: u16 = 0x008;
/// ChannelBind.
pub const CHANNEL_BIND: u16 = 0x009;
