//! BeeKEM, as keyhive has it.

use std::{
    collections::BTreeSet,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use beekem::{
    cgka::Cgka,
    id::{MemberId, TreeId},
    keys::ShareKeyMap,
};
use future_form::Local;
use keyhive_crypto::{share_key::ShareSecretKey, signer::memory::MemorySigner};
use rand::{SeedableRng as _, rngs::StdRng};

struct Member {
    id: MemberId,
    signer: MemorySigner,
    key: ShareSecretKey,
}

/// One of the middle is removed, and the remover updates its path: only with that is there a new secret.
pub(crate) async fn removals(n: usize, rounds: usize) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut rng = StdRng::seed_from_u64(1);
    let tree = TreeId::from(&MemorySigner::generate(&mut rng).0);
    let members: Vec<Member> = (0..n)
        .map(|_| {
            let signer = MemorySigner::generate(&mut rng);
            Member { id: MemberId::from(&signer.0), signer, key: ShareSecretKey::generate(&mut rng) }
        })
        .collect();
    let keys = |member: &Member| {
        let mut keys = ShareKeyMap::new();
        keys.insert(member.key.share_key(), member.key);
        keys
    };
    let admin = &members[0];
    let mut group = Cgka::new(tree, admin.id, keys(admin));
    for member in &members {
        let added = group.add::<Local, _>(member.id, member.key.share_key(), None, BTreeSet::new(), &admin.signer);
        added.await?.ok_or("a member was there already")?;
    }
    // The others first: the admin's own path is then the newest, and all of it is known to it.
    for member in members.iter().skip(1).chain([admin]) {
        let new = ShareSecretKey::generate(&mut rng);
        if member.id == admin.id {
            group.update::<Local, _, _>(new.share_key(), new, &member.signer, &mut rng).await?;
        } else {
            let mut theirs = group.with_new_owner(member.id, keys(member))?;
            let (_, said, _) = theirs.update::<Local, _, _>(new.share_key(), new, &member.signer, &mut rng).await?;
            group.merge_concurrent_operation(Arc::new(said))?;
        }
    }
    let mut took = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let mut group = group.clone();
        let gone = members[n / 2 + round % (n / 4)].id;
        let new = ShareSecretKey::generate(&mut rng);
        let began = Instant::now();
        let removed = group.remove::<Local, _>(gone, BTreeSet::new(), &admin.signer).await?;
        let updated = group.update::<Local, _, _>(new.share_key(), new, &admin.signer, &mut rng).await?;
        took.push(began.elapsed());
        if removed.is_none() || group.group_size() as usize != n - 1 {
            return Err("nobody was removed".into());
        }
        std::hint::black_box(updated);
    }
    Ok(took)
}
