//! From a push request to what a provider sender takes.

use aws_lc_rs::digest;
use reveille_core::{PushId, SipDomain, Timestamp};
use reveille_federation::PushRequest;
use reveille_federation::request::{Call, Caller, Media};
use reveille_providers as providers;
use reveille_providers::Notification;

/// Makes the notification for a request that came from `origin` and has the journal's number `seq`.
///
/// `None` for a probe without a target.
pub fn notification(
    origin: &SipDomain,
    request: PushRequest,
    seq: u64,
    created: Timestamp,
    expires: Timestamp,
) -> Option<Notification> {
    let priority = request.effective_priority();
    let to = request.to?;
    Some(Notification {
        key: seq,
        provider_id: provider_id(origin, request.id),
        channel: request.channel,
        event: request.event,
        token: to.token,
        priority,
        created,
        expires,
        collapse: request.collapse.map(|collapse| collapse_of(origin, &collapse)),
        badge: request.badge,
        alert: request.alert.map(|alert| providers::Alert {
            loc_key: alert.loc_key,
            loc_args: alert.loc_args,
            title: alert.title,
            body: alert.body,
        }),
        sound: request.sound,
        call: request.call.map(call_of),
        sealed: request.sealed,
        push_id: request.id,
        identity: request.identity,
    })
}

fn call_of(call: Call) -> providers::Call {
    let (caller, caller_sealed) = match call.caller {
        None => (None, None),
        Some(Caller::Clear(name)) => (Some(name), None),
        Some(Caller::Sealed { sealed }) => (None, Some(sealed)),
    };
    let media = match call.media {
        Media::Audio => providers::Media::Audio,
        Media::Video => providers::Media::Video,
    };
    providers::Call { id: call.id, media, caller, caller_sealed }
}

/// The name that every repeat of one push has at its provider, so that the phone shows it once.
///
/// It is made of the origin too: two organisations may choose the same id.
pub fn provider_id(origin: &SipDomain, id: PushId) -> [u8; 16] {
    let digest = digest_of(&[&id.to_u128().to_be_bytes(), origin.as_str().as_bytes()]);
    let mut name = [0; 16];
    name.copy_from_slice(&digest.as_ref()[..16]);
    // RFC 9562 §5.8: version 8, a UUID whose bits are ours to choose; the variant bits are fixed.
    name[6] = name[6] & 0x0f | 0x80;
    name[8] = name[8] & 0x3f | 0x80;
    name
}

/// An organisation's collapse key, made its own: another organisation's equal key must not replace its pushes.
fn collapse_of(origin: &SipDomain, collapse: &str) -> Box<str> {
    let digest = digest_of(&[origin.as_str().as_bytes(), &[0], collapse.as_bytes()]);
    let mut text = [0; 32];
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(digest.as_ref()) {
        *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
    }
    str::from_utf8(&text).expect("these are ASCII").into()
}

/// SHA-256 of these parts behind each other. They are short: put together first, they need no context of their own.
fn digest_of(parts: &[&[u8]]) -> digest::Digest {
    let (mut whole, mut len) = ([0; 512], 0);
    for part in parts {
        let Some(place) = whole.get_mut(len..len + part.len()) else {
            return digest::digest(&digest::SHA256, &parts.concat());
        };
        place.copy_from_slice(part);
        len += part.len();
    }
    digest::digest(&digest::SHA256, &whole[..len])
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_for_the_device_stays_apart_from_what_anybody_may_read() {
        let call = |caller| call_of(Call { id: "1".into(), media: Media::Video, caller });
        let sealed = call(Some(Caller::Sealed { sealed: "x".into() }));
        assert_eq!((sealed.caller, sealed.caller_sealed.as_deref()), (None, Some("x")));
        let clear = call(Some("Alice".into()));
        assert_eq!((clear.caller.as_deref(), clear.caller_sealed), (Some("Alice"), None));
        assert_eq!(call(None).caller, None);
    }

    #[test]
    fn two_organisations_never_share_a_provider_id_or_a_collapse_key() {
        let (a, b): (SipDomain, SipDomain) = ("a.example".parse().unwrap(), "b.example".parse().unwrap());
        let id = PushId::from_u128(5);
        assert_eq!(provider_id(&a, id), provider_id(&a, id));
        assert_ne!(provider_id(&a, id), provider_id(&b, id));
        assert_ne!(collapse_of(&a, "x"), collapse_of(&b, "x"));
        // They are kept on phones and at providers, so they may never change: SHA-256 of "a.example", 0, "x".
        assert_eq!(&*collapse_of(&a, "x"), "f483a9e3af126e109f60b7a80afe0e98");
        let whole = digest::digest(&digest::SHA256, &[7; 3000]);
        assert_eq!(digest_of(&[&[7; 500], &[7; 12], &[7; 2488]]).as_ref(), whole.as_ref());
        assert_eq!(digest_of(&[&[7; 500], &[7; 12]]).as_ref(), digest::digest(&digest::SHA256, &[7; 512]).as_ref());
    }
}
