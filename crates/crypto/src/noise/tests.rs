//! A Noise vector made by others, through our primitives. It needs fixed ephemeral keys, which the public interface
//! rightly does not offer.

#![allow(clippy::unwrap_used)]

use data_encoding::HEXLOWER_PERMISSIVE;
use snow::Builder;

use super::resolver::Resolver;
use super::{NoiseHandshake, PATTERN};
use crate::Secret;

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
}

fn side(fixed_static: &str, fixed_ephemeral: &str, initiator: bool) -> NoiseHandshake {
    let (prologue, local, ephemeral) = (hex("4a6f686e2047616c74"), hex(fixed_static), hex(fixed_ephemeral));
    let resolver = Resolver::new(Secret::from_bytes([0; 32]));
    let builder = Builder::with_resolver(PATTERN.parse().unwrap(), Box::new(resolver))
        .prologue(&prologue)
        .unwrap()
        .local_private_key(&local)
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(&ephemeral);
    NoiseHandshake(if initiator { builder.build_initiator() } else { builder.build_responder() }.unwrap())
}

/// From the vectors of the Haskell implementation cacophony.
#[test]
fn our_primitives_speak_noise_as_other_implementations_do() {
    let messages = [
        (
            "4c756477696720766f6e204d69736573",
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79444c756477696720766f6e204d69736573",
        ),
        (
            "4d757272617920526f746862617264",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f14480884381cbad1f276e038c48378ffce2b65285e08d6b68aaa3629a5a8639392490e5b9bd5269c2f1e4f488ed8831161f19b7815528f8982ffe09be9b5c412f8a0db50f8814c7194e83f23dbd8d162c9326ad",
        ),
        (
            "462e20412e20486179656b",
            "c7195ffacac1307ff99046f219750fc47693e23c3cb08b89c2af808b444850a80ae475b9df0f169ae80a89be0865b57f58c9fea0d4ec82a286427402f113e4b6ae769a1d95941d49b25030",
        ),
        ("4361726c204d656e676572", "96763ed773f8e47bb3712f0e29b3060ffc956ffc146cee53d5e1df"),
        ("4a65616e2d426170746973746520536179", "3e40f15f6f3a46ae446b253bf8b1d9ffb6ed9b174d272328ff91a7e2e5c79c07f5"),
        (
            "457567656e2042f6686d20766f6e2042617765726b",
            "eb3f3515110702e047a6c9da4478b6ead94873c11c0f2d710ddb3f09fce024b3a58502ae3f",
        ),
    ]
    .map(|(payload, ciphertext)| (hex(payload), hex(ciphertext)));

    let mut initiator = side(
        "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
        "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
        true,
    );
    let mut responder = side(
        "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
        "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
        false,
    );
    for (index, (payload, ciphertext)) in messages.iter().take(3).enumerate() {
        let (from, to) =
            if index % 2 == 0 { (&mut initiator, &mut responder) } else { (&mut responder, &mut initiator) };
        assert_eq!(from.write(payload).unwrap(), *ciphertext, "handshake message {index}");
        assert_eq!(to.read(ciphertext).unwrap(), *payload, "handshake message {index}");
    }
    let expected = hex("c8e5f64e846193be2a834104c2a009868d6c9f3bd3c186299888b488b2f1f58e");
    assert_eq!(initiator.hash().as_slice(), expected);

    let (mut a_out, mut a_in, _) = initiator.into_transport().unwrap();
    let (mut b_out, mut b_in, _) = responder.into_transport().unwrap();
    for (index, (payload, ciphertext)) in messages.iter().enumerate().skip(3) {
        let (from, to) = if index % 2 == 0 { (&mut a_out, &mut b_in) } else { (&mut b_out, &mut a_in) };
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        from.seal(payload, &mut sealed).unwrap();
        assert_eq!(sealed, *ciphertext, "record {index}");
        to.open(&sealed, &mut opened).unwrap();
        assert_eq!(opened, *payload, "record {index}");
    }
}
